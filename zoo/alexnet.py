"""AlexNet: the network that won ImageNet 2012, in the form of its two GPUs and in the one that libraries ship.

Paper:    ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky, Sutskever, Hinton; NIPS 2012)
          https://doi.org/10.1145/3065386, section 3; "owt": One weird trick for parallelizing convolutional neural
          networks (Krizhevsky 2014) https://arxiv.org/abs/1404.5997
Code:     "owt": keys and function of torchvision 0.29 `alexnet`; "2012": read beside Caffe's `bvlc_alexnet`, with
          torchvision's keys
Block:    conv ReLU [LRN] [max pool 3x3, stride 2];  LRN: b_i = a_i / (2 + 1e-4 sum_{|j - i| <= 2} a_j^2)^0.75 over
          the channels j, after the first two convolutions of "2012"; its two groups in conv 2, 4, 5 were its two GPUs
Shapes:   (N, 3, 227, 227) -> 96 x 55 x 55 -> 256 x 27 x 27 -> 384 x 13 x 13 (twice) -> 256 x 13 x 13 -> (N, 9216) ->
          4096 -> 4096 -> (N, K);  "owt" from 224 px
Defaults: training arguments of `Classifier`; dropout 0.5. "2012": weights N(0, 0.01^2), bias 1 in conv 2, 4, 5 and in
          the hidden layers (section 5), else 0; "owt": torch's, as torchvision
Differs:  The paper prints 224 px, but its map sizes need 227: that is the default of "2012"; any other size takes
          padding 2, which gives 55 x 55 at 224 too. LRN is the formula as printed, across the groups: Caffe and torch
          divide alpha by 5, so torch's alpha is 5e-4 here. "2012" drops outputs of the two hidden layers (Caffe), "owt"
          their inputs (torchvision). The biases of 1 put the first loss of "2012" above ln K, by about 0.35, and with
          dropout by 1. For up to 64 px conv 1 is 5x5 of stride 1 and the hidden layers read the 3 x 3 (32 px) or 6 x 6
          (64 px) maps that are left: ours.
"""

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.alexnet_parts import hidden_layers, local_norm
from zoo.layers.init import normal_01


class Row(NamedTuple):
    """What the paper's network ("2012") and "owt" have apart."""

    channels: tuple[int, int, int, int, int]  # of the five convolutions
    groups: int  # in convolutions 2, 4 and 5
    pixels: int  # side of the images


VARIANTS = {
    "2012": Row((96, 256, 384, 384, 256), groups=2, pixels=227),
    "owt": Row((64, 192, 384, 256, 256), groups=1, pixels=224),
}


class AlexNet(Classifier):
    """`AlexNet("2012")` as in the paper, `AlexNet("owt")` as in torchvision, `AlexNet(..., image_size=32)` for CIFAR.

    Args:
        variant: a key of `VARIANTS`: "2012" or "owt".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 227, or 224 for "owt".
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or images that the pools shrink to nothing.
    """

    torchvision_names = {"owt": "alexnet"}

    def __init__(
        self,
        variant: str | int = "2012",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        variant = validate_choice(str(variant), VARIANTS, "AlexNet")
        row = VARIANTS[variant]
        image_size = image_size or row.pixels
        side = side_after_pools(image_size) if image_size <= SMALL else 6
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        c1, c2, c3, c4, c5 = row.channels
        g = row.groups
        padding = 0 if variant == "2012" and image_size == 227 else 2
        first = conv(3, c1, 5) if image_size <= SMALL else nn.Conv2d(3, c1, 11, stride=4, padding=padding)
        norm = local_norm if variant == "2012" else nn.Identity
        layers: dict[str, nn.Module] = {
            "0": first, "1": nn.ReLU(inplace=True), "norm1": norm(), "2": nn.MaxPool2d(3, 2),
            "3": conv(c1, c2, 5, g), "4": nn.ReLU(inplace=True), "norm2": norm(), "5": nn.MaxPool2d(3, 2),
            "6": conv(c2, c3, 3), "7": nn.ReLU(inplace=True),
            "8": conv(c3, c4, 3, g), "9": nn.ReLU(inplace=True),
            "10": conv(c4, c5, 3, g), "11": nn.ReLU(inplace=True), "12": nn.MaxPool2d(3, 2),
        }  # fmt: skip
        self.features = nn.Sequential(OrderedDict(layers))
        self.stage_paths = {f"stage{i}": f"features.{j}" for i, j in enumerate((1, 4, 7, 9, 11), 1)}
        self.avgpool = nn.AdaptiveAvgPool2d(side)  # the identity at the paper's image size
        self.classifier = hidden_layers(c5 * side**2, num_classes, drop_inputs=variant == "owt")
        if variant == "2012":
            self.apply(normal_01)
            for layer in ("features.3", "features.8", "features.10", "classifier.1", "classifier.4"):
                nn.init.ones_(self.get_parameter(f"{layer}.bias"))
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))  # (N, 256, 6, 6)
        return self.classifier(x.flatten(1))


def conv(c_in: int, c_out: int, size: int, groups: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size of the maps: (N, C_in, H, W) -> (N, C_out, H, W)."""
    return nn.Conv2d(c_in, c_out, size, padding=size // 2, groups=groups)


def side_after_pools(pixels: int) -> int:
    """Return the side of a small image's maps after three pools of 3x3 and stride 2, at most 6.

    Raises:
        ValueError: if nothing is left.
    """
    side = pixels
    for _ in range(3):
        side = (side - 3) // 2 + 1
    if side < 1:
        raise ValueError(f"AlexNet shrinks images of {pixels} px to nothing: use image_size=15 or more")
    return min(side, 6)
