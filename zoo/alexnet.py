"""AlexNet: the network that won ImageNet 2012, as it ran on two GPUs, and in the form that libraries ship.

Paper:    ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky, Sutskever, Hinton; NIPS 2012)
          https://doi.org/10.1145/3065386, section 3; "owt": One weird trick for parallelizing convolutional neural
          networks (Krizhevsky 2014) https://arxiv.org/abs/1404.5997
Code:     "owt": keys and function of torchvision 0.29 `alexnet`; "2012": read beside Caffe's `bvlc_alexnet`, with
          torchvision's keys
Block:    conv ReLU [LRN] [max pool 3x3, stride 2];  LRN: b_i = a_i / (2 + 1e-4 sum_{|j - i| <= 2} a_j^2)^0.75 over
          the channels j, after the first two convolutions of "2012"; conv 2, 4, 5 have two groups, one for each GPU
Shapes:   (N, 3, 227, 227) -> 96 x 55 x 55 -> 256 x 27 x 27 -> 384 x 13 x 13 (twice) -> 256 x 13 x 13 -> (N, 9216) ->
          4096 -> 4096 -> (N, K);  "owt" from 224 px
Defaults: momentum .9 without Nesterov, lr .02 for 256 images (section 5: .01 for 128), weight decay 5e-4, dropout 0.5.
          "2012": weights N(0, 0.01^2), bias 1 in conv 2, 4, 5 and in the hidden layers (section 5), else 0; "owt":
          torch's, as torchvision
Differs:  The paper prints 224 px, but its map sizes need 227: that is the default of "2012". At any other size conv 1
          is padded by 2, which gives 55 x 55 at 224 px too. LRN is the formula as printed, across the groups: Caffe and
          torch divide alpha by 5, so torch's alpha is 5e-4 here. "2012" drops outputs of the two hidden layers (Caffe),
          "owt" their inputs (torchvision). The biases of 1 raise the first loss of "2012" above ln K, by about 0.35,
          with dropout by 1. For images of up to 64 px conv 1 is 5x5 of stride 1, and the hidden layers read the maps
          that are left, 3 x 3 at 32 px and 6 x 6 at 64 px: ours.
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
    """What differs between the paper's network ("2012") and "owt"."""

    channels: tuple[int, int, int, int, int]  # of the five convolutions
    groups: int  # in convolutions 2, 4 and 5
    pixels: int  # side of the images


VARIANTS = {
    "2012": Row((96, 256, 384, 384, 256), groups=2, pixels=227),
    "owt": Row((64, 192, 384, 256, 256), groups=1, pixels=224),
}


class AlexNet(Model):
    """`AlexNet("2012")` as in the paper, `AlexNet("owt")` as in torchvision; `image_size=32` for CIFAR."""

    variants = VARIANTS
    training_defaults = {"optimizer": "momentum", "lr": 0.02, "weight_decay": 5e-4}
    stage_paths = ("features.1", "features.4", "features.7", "features.9", "features.11")
    torchvision_names = {"owt": "alexnet"}

    def __init__(
        self,
        variant: str | int = "2012",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.needs_at_least(15)
        row, original = VARIANTS[self.variant], self.variant == "2012"
        c1, c2, c3, c4, c5 = row.channels
        g = row.groups
        padding = 0 if original and self.image_size == 227 else 2
        first = conv(3, c1, 5) if self.small else nn.Conv2d(3, c1, 11, stride=4, padding=padding)
        norm = local_norm if original else nn.Identity
        layers: dict[str, nn.Module] = {
            "0": first, "1": nn.ReLU(inplace=True), "norm1": norm(), "2": nn.MaxPool2d(3, 2),
            "3": conv(c1, c2, 5, g), "4": nn.ReLU(inplace=True), "norm2": norm(), "5": nn.MaxPool2d(3, 2),
            "6": conv(c2, c3, 3), "7": nn.ReLU(inplace=True),
            "8": conv(c3, c4, 3, g), "9": nn.ReLU(inplace=True),
            "10": conv(c4, c5, 3, g), "11": nn.ReLU(inplace=True), "12": nn.MaxPool2d(3, 2),
        }  # fmt: skip
        self.features = nn.Sequential(OrderedDict(layers))
        side = pooled_side(self.image_size, padding=(0, 0, 0)) if self.small else 6
        self.avgpool = nn.AdaptiveAvgPool2d(side)  # the identity at the paper's image size
        self.classifier = hidden_layers(c5 * side**2, num_classes, drop_inputs=not original)
        if original:
            self.apply(normal_01)
            for layer in ("features.3", "features.8", "features.10", "classifier.1", "classifier.4"):
                nn.init.ones_(self.get_parameter(f"{layer}.bias"))

    @classmethod
    def size_for(cls, variant: str) -> int:
        """Return the side of a row's images in pixels, where none is given."""
        return VARIANTS[variant].pixels

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))  # (N, 256, 6, 6)
        return self.classifier(x.flatten(1))


def conv(c_in: int, c_out: int, size: int, groups: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size of the maps: (N, C_in, H, W) -> (N, C_out, H, W)."""
    return nn.Conv2d(c_in, c_out, size, padding=size // 2, groups=groups)
