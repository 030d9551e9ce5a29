"""ZFNet: AlexNet with a smaller, denser first convolution, chosen by looking at what each layer responds to.

Paper:    Visualizing and Understanding Convolutional Networks (Zeiler, Fergus; ECCV 2014)
          https://arxiv.org/abs/1311.2901, figure 3 ("base") and the wide row of table 2 ("wide")
Code:     no authors' code; keys as torchvision's `alexnet`
Block:    conv ReLU [max pool 3x3, stride 2] [LRN across channels, as AlexNet's]; conv 1 is 7x7 of stride 2 (AlexNet:
          11x11 of stride 4), conv 2 5x5 of stride 2 (AlexNet: stride 1); no layer has groups
Shapes:   (N, 3, 224, 224) -> 96 x 110 x 110 -> 256 x 26 x 26 -> 384 x 13 x 13 (twice) -> 256 x 13 x 13 -> (N, 9216) ->
          4096 -> 4096 -> (N, K); "wide": 512, 1024, 512 maps in place of 384, 384, 256
Defaults: momentum .9 without Nesterov, lr .02 for 256 images (section 3: .01 for 128); weight decay 5e-4, AlexNet's,
          since the paper gives none; dropout 0.5 on the outputs of both hidden layers; weights N(0, 0.01^2), biases 0
          (section 3)
Differs:  The paper gives the map sizes (110, 55, 26, 13, 13, 6) but no padding: they follow from 1 in conv 1 and the
          first two pools, 0 in conv 2 and the last pool. It says "contrast normalised across feature maps" without
          constants: AlexNet's are taken. Filters whose RMS exceeds 0.1 are not rescaled. For images of up to 64 px conv
          1 and 2 have stride 1, and the hidden layers read the maps that are left, 3 x 3 at 32 px and 6 x 6 at 64 px:
          ours.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.alexnet_parts import hidden_layers, local_norm, pooled_side
from zoo.layers.init import normal_01


@dataclass(frozen=True)
class Row:
    """A network of the paper."""

    channels: tuple[int, int, int, int, int]  # of the five convolutions


VARIANTS = {
    "base": Row((96, 256, 384, 384, 256)),
    "wide": Row((96, 256, 512, 1024, 512)),
}


class ZFNet(Model):
    """`ZFNet("base")` is the paper's figure 3, `ZFNet("wide")` its best single network."""

    variants = VARIANTS
    stage_paths = ("features.1", "features.4", "features.7", "features.9", "features.11")
    training_defaults = {"optimizer": "momentum", "lr": 0.02, "weight_decay": 5e-4}

    def __init__(
        self,
        variant: str | int = "base",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.needs_at_least(9)
        c1, c2, c3, c4, c5 = VARIANTS[self.variant].channels
        stride, padding1, padding2 = (1, 3, 2) if self.small else (2, 1, 0)  # of convolutions 1 and 2
        layers: dict[str, nn.Module] = {
            "0": nn.Conv2d(3, c1, 7, stride, padding1), "1": nn.ReLU(inplace=True),
            "2": nn.MaxPool2d(3, stride=2, padding=1), "norm1": local_norm(),
            "3": nn.Conv2d(c1, c2, 5, stride, padding2), "4": nn.ReLU(inplace=True),
            "5": nn.MaxPool2d(3, stride=2, padding=1), "norm2": local_norm(),
            "6": nn.Conv2d(c2, c3, 3, padding=1), "7": nn.ReLU(inplace=True),
            "8": nn.Conv2d(c3, c4, 3, padding=1), "9": nn.ReLU(inplace=True),
            "10": nn.Conv2d(c4, c5, 3, padding=1), "11": nn.ReLU(inplace=True), "12": nn.MaxPool2d(3, stride=2),
        }  # fmt: skip
        self.features = nn.Sequential(OrderedDict(layers))
        side = pooled_side(self.image_size, padding=(1, 1, 0)) if self.small else 6
        self.avgpool = nn.AdaptiveAvgPool2d(side)  # the identity at the paper's image size
        self.classifier = hidden_layers(c5 * side**2, num_classes, drop_inputs=False)
        self.apply(normal_01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))  # (N, C5, 6, 6)
        return self.classifier(x.flatten(1))
