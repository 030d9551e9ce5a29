"""RegNet: networks whose widths follow one quantised line, found by narrowing a space of networks, not by a search.

Paper:    Designing Network Design Spaces (Radosavovic, Kosaraju, Girshick, He, Dollar; CVPR 2020)
          https://arxiv.org/abs/2003.13678, section 3.3
Code:     https://github.com/facebookresearch/pycls (the authors'; the table is from its configs); keys and functions of
          timm 1.0 `regnetx_*`, `regnety_*`
Block:    X: y = ReLU(x + F(x)), F: 1x1 BN ReLU, 3x3 in groups of g channels BN ReLU, 1x1 BN, all of the stage's width;
          Y: with squeeze and excitation after the 3x3, squeezed to a quarter of the block's input channels
Shapes:   (N, 3, H, W) -stem-> (N, 32, H/2, W/2) -4 stages-> (N, w4, H/32, W/32) -> (N, K)
Defaults: He initialisation by fan-out, N(0, 0.01^2) and bias 0 for the head (pycls)
Differs:  nothing at more than 64 px. timm draws the weights of grouped convolutions sqrt(groups) larger and starts the
          last gamma of each block at 0. torchvision's regnet_x_400mf, regnet_y_800mf and regnet_y_8gf round widths
          differently and are other networks. For images of up to 64 px the stem and stage 1 have stride 1: ours.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import groupby
from math import log
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.conv_bn import conv_bn
from zoo.layers.init import he_fan_out, normal_01
from zoo.layers.layout import global_average
from zoo.layers.squeeze_excite import SqueezeExcite


@dataclass(frozen=True)
class Row:
    """A configuration of pycls: the parameters of the quantised line of widths."""

    d: int  # depth: number of blocks
    w_0: int  # width of the first block
    w_a: float  # slope of the line
    w_m: float  # ratio of two neighbouring widths
    g: int  # channels of a group
    se: bool = False  # squeeze and excitation: Y


# X or Y, and the multiply-adds at 224 px (MF: 1e6, GF: 1e9)
VARIANTS = {
    "X-200MF": Row(13, 24, 36.44, 2.49, 8),
    "X-400MF": Row(22, 24, 24.48, 2.54, 16),
    "X-600MF": Row(16, 48, 36.97, 2.24, 24),
    "X-800MF": Row(16, 56, 35.73, 2.28, 16),
    "X-1.6GF": Row(18, 80, 34.01, 2.25, 24),
    "X-3.2GF": Row(25, 88, 26.31, 2.25, 48),
    "X-4.0GF": Row(23, 96, 38.65, 2.43, 40),
    "X-6.4GF": Row(17, 184, 60.83, 2.07, 56),
    "X-8.0GF": Row(23, 80, 49.56, 2.88, 120),
    "X-12GF": Row(19, 168, 73.36, 2.37, 112),
    "X-16GF": Row(22, 216, 55.59, 2.1, 128),
    "X-32GF": Row(23, 320, 69.86, 2.0, 168),
    "Y-200MF": Row(13, 24, 36.44, 2.49, 8, se=True),
    "Y-400MF": Row(16, 48, 27.89, 2.09, 8, se=True),
    "Y-600MF": Row(15, 48, 32.54, 2.32, 16, se=True),
    "Y-800MF": Row(14, 56, 38.84, 2.4, 16, se=True),
    "Y-1.6GF": Row(27, 48, 20.71, 2.65, 24, se=True),
    "Y-3.2GF": Row(21, 80, 42.63, 2.66, 24, se=True),
    "Y-4.0GF": Row(22, 96, 31.41, 2.24, 64, se=True),
    "Y-6.4GF": Row(25, 112, 33.22, 2.27, 72, se=True),
    "Y-8.0GF": Row(17, 192, 76.82, 2.19, 56, se=True),
    "Y-12GF": Row(19, 168, 73.36, 2.37, 112, se=True),
    "Y-16GF": Row(18, 200, 106.23, 2.48, 112, se=True),
    "Y-32GF": Row(20, 232, 115.89, 2.53, 232, se=True),
}


def widths(d: int, w_0: int, w_a: float, w_m: float) -> list[int]:
    """Return the channels of each of the d blocks, equations 2 to 4.

    u_j = w_0 + w_a j is rounded, in its logarithm, to the nearest w_0 w_m^s with a whole s, then to a multiple of 8.
    """
    exponents = [round(log((w_0 + w_a * j) / w_0) / log(w_m)) for j in range(d)]
    return [8 * round(w_0 * w_m**s / 8) for s in exponents]


def stages(row: Row) -> list[tuple[int, int, int]]:
    """Return (depth, channels, group width) of each stage: a run of blocks of equal width, which groups divide."""
    runs = [(w, len(list(run))) for w, run in groupby(widths(row.d, row.w_0, row.w_a, row.w_m))]
    groups = [(depth, w, min(row.g, w)) for w, depth in runs]
    return [(depth, round(w / g) * g, g) for depth, w, g in groups]


class Block(nn.Module):
    """1x1, grouped 3x3, (squeeze and excitation,) 1x1, shortcut. Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int, g: int, se: bool):
        super().__init__()
        self.conv1 = conv_bn(c_in, w, 1)
        self.conv2 = conv_bn(w, w, 3, stride=stride, groups=w // g)
        self.se = SqueezeExcite(w, round(c_in / 4)) if se else nn.Identity()
        self.conv3 = conv_bn(w, w, 1, relu=False)
        changes = stride > 1 or c_in != w
        self.downsample = conv_bn(c_in, w, 1, relu=False, stride=stride) if changes else nn.Identity()
        self.act3 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(self.se(self.conv2(self.conv1(x))))
        return self.act3(y + self.downsample(x))


class RegNet(Model):
    """`RegNet("Y-400MF")` for ImageNet, `RegNet("X-200MF", num_classes=10, image_size=32)` for small images."""

    variants = VARIANTS
    stage_paths = ("s1", "s2", "s3", "s4")
    block_path = "s3.b2"
    timm_names = {
        f"{kind}-{size}": f"regnet{kind.lower()}_{number}"
        for kind in "XY"
        for size, number in {
            "200MF": "002", "400MF": "004", "600MF": "006", "800MF": "008", "1.6GF": "016", "3.2GF": "032",
            "4.0GF": "040", "6.4GF": "064", "8.0GF": "080", "12GF": "120", "16GF": "160", "32GF": "320",
        }.items()
    }  # fmt: skip

    def __init__(
        self,
        variant: str | int = "Y-400MF",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        (d1, w1, g1), (d2, w2, g2), (d3, w3, g3), (d4, w4, g4) = stages(row)
        first = 1 if self.small else 2  # stride of the stem and of stage 1
        self.stem = conv_bn(3, 32, 3, stride=first)
        self.s1 = stage(32, w1, d1, first, g1, row.se)
        self.s2 = stage(w1, w2, d2, 2, g2, row.se)
        self.s3 = stage(w2, w3, d3, 2, g3, row.se)
        self.s4 = stage(w3, w4, d4, 2, g4, row.se)
        self.head = nn.Sequential(OrderedDict(fc=nn.Linear(w4, num_classes)))  # timm's key
        self.apply(he_fan_out)
        self.head.apply(normal_01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.s4(self.s3(self.s2(self.s1(self.stem(x)))))
        return self.head(global_average(x))


def stage(c_in: int, w: int, depth: int, stride: int, g: int, se: bool) -> nn.Sequential:
    """Return `depth` blocks, the first of which changes size and channels: (N, C_in, H, W) -> (N, w, H/s, W/s)."""
    blocks = [Block(c_in, w, stride, g, se), *(Block(w, w, 1, g, se) for _ in range(depth - 1))]
    return nn.Sequential(OrderedDict((f"b{i}", block) for i, block in enumerate(blocks, 1)))
