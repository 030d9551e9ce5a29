"""ZFNet: AlexNet with a first layer that looks closer, found by drawing what each layer responds to.

Paper:    Visualizing and Understanding Convolutional Networks (Zeiler, Fergus; ECCV 2014)
          https://arxiv.org/abs/1311.2901, figure 3 ("base") and the wide row of table 2 ("wide")
Code:     no authors' code; keys as torchvision's `alexnet`
Block:    conv ReLU [max pool 3x3, stride 2] [LRN across channels, as AlexNet's]; conv 1 is 7x7 of stride 2, conv 2 5x5
          of stride 2 (AlexNet: 11x11 of stride 4, 5x5 of stride 1), and no layer has groups
Shapes:   (N, 3, 224, 224) -> 96 x 110 x 110 -> 256 x 26 x 26 -> 384 x 13 x 13 (twice) -> 256 x 13 x 13 -> (N, 9216) ->
          4096 -> 4096 -> (N, K); "wide": 512, 1024, 512 maps in place of 384, 384, 256
Defaults: training arguments of `Classifier`; dropout 0.5 on the outputs of both hidden layers; weights N(0, 0.01^2),
          biases 0 (section 3)
Differs:  The paper gives the map sizes (110, 55, 26, 13, 13, 6) but no padding: 1 for conv 1 and the first two pools, 0
          for conv 2 and the last pool make them. It says "contrast normalised across feature maps" without constants:
          AlexNet's are taken. Filters whose RMS exceeds 0.1 are not rescaled. For up to 64 px conv 1 and 2 have stride
          1 and the hidden layers read the 3 x 3 (32 px) or 6 x 6 (64 px) maps that are left: ours.
"""

from collections import OrderedDict

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.alexnet_parts import hidden_layers, local_norm
from zoo.layers.init import normal_01

#        channels of the five convolutions
VARIANTS = {
    "base": (96, 256, 384, 384, 256),
    "wide": (96, 256, 512, 1024, 512),
}


class ZFNet(Classifier):
    """`ZFNet("base")` is the paper's figure 3, `ZFNet("wide")` its best single network.

    Args:
        variant: a key of `VARIANTS`: "base" or "wide".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or images that the pools shrink to nothing.
    """

    def __init__(
        self,
        variant: str = "base",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        variant = validate_choice(variant, VARIANTS, "ZFNet")
        c1, c2, c3, c4, c5 = VARIANTS[variant]
        image_size = image_size or 224
        small = image_size <= SMALL
        side = side_after_pools(image_size) if small else 6
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        stride, padding1, padding2 = (1, 3, 2) if small else (2, 1, 0)  # of convolutions 1 and 2
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
        self.stage_paths = {f"stage{i}": f"features.{j}" for i, j in enumerate((1, 4, 7, 9, 11), 1)}
        self.avgpool = nn.AdaptiveAvgPool2d(side)  # the identity at the paper's image size
        self.classifier = hidden_layers(c5 * side**2, num_classes, drop_inputs=False)
        self.apply(normal_01)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))  # (N, C5, 6, 6)
        return self.classifier(x.flatten(1))


def side_after_pools(pixels: int) -> int:
    """Return the side of a small image's maps after two padded pools and one without padding, at most 6.

    Raises:
        ValueError: if nothing is left.
    """
    halved = (pixels + 1) // 2
    side = ((halved + 1) // 2 - 3) // 2 + 1
    if side < 1:
        raise ValueError(f"ZFNet shrinks images of {pixels} px to nothing: use image_size=9 or more")
    return min(side, 6)
