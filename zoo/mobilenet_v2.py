"""MobileNetV2: blocks that widen, convolve each channel and narrow again; shortcuts connect the narrow ends.

Paper:    MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler, Howard, Zhu, Zhmoginov, Chen; CVPR 2018)
          https://arxiv.org/abs/1801.04381, Table 2
Code:     https://github.com/tensorflow/models, research/slim/nets/mobilenet/mobilenet_v2.py (the authors'); keys and
          function of torchvision 0.29 `mobilenet_v2`
Block:    F(x) = BN conv1x1(ReLU6 BN dwconv3x3(ReLU6 BN conv1x1(x))), widths C, tC, tC, C_out, without the first 1x1 at
          t = 1;  y = x + F(x) where the shape stays, else F(x)
Shapes:   (N, 3, H, W) -stem-> (N, 32a, H/2, W/2) -17 blocks-> (N, 320a, H/32, W/32) -1x1-> (N, max(1, a) 1280, H/32,
          W/32) -> (N, K), a the width multiplier, channels rounded to multiples of 8
Defaults: dropout .2 before the head; He initialisation, fan-out, N(0, .01) in the head (torchvision)
Differs:  padding is the same on all sides (torchvision); the authors' code pads more at the right and below. 1.4 has
          6.11 million parameters, about the 6.06 that the authors' code prints; the paper says 6.9. For images of up to
          64 px the first two strides are 1, so that the last map is H/8: ours, not the paper's. Stages begin at H/4.
          SGD, where the paper has RMSProp on asynchronous workers: their rate is none for one process.
"""

from dataclasses import dataclass
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.conv_bn import conv_bn_act
from zoo.layers.init import he_fan_out_01
from zoo.layers.layout import global_average
from zoo.layers.round_to_8 import round_to_8


@dataclass(frozen=True)
class Row:
    """A row of the authors' table of checkpoints."""

    a: float  # width multiplier


VARIANTS = {"1.4": Row(1.4), "1.0": Row(1.0), "0.75": Row(0.75), "0.5": Row(0.5), "0.35": Row(0.35)}


@dataclass(frozen=True)
class Group:
    """A row of Table 2."""

    t: int  # expansion
    c: int  # channels
    n: int  # number of blocks
    s: int  # stride of the first one


GROUPS = (
    Group(1, 16, 1, 1),
    Group(6, 24, 2, 2),
    Group(6, 32, 3, 2),
    Group(6, 64, 4, 2),
    Group(6, 96, 3, 1),
    Group(6, 160, 3, 2),
    Group(6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen t times, depthwise 3x3, narrow. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, stride: int, t: int):
        super().__init__()
        wide = c_in * t
        self.conv = nn.Sequential(
            *([conv_bn_act(c_in, wide, act=nn.ReLU6)] if t > 1 else []),
            conv_bn_act(wide, wide, 3, stride, groups=wide, act=nn.ReLU6),
            *conv_bn_act(wide, c_out, act=None),
        )
        self.shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(Model):
    """`MobileNetV2("1.0")` for ImageNet, `MobileNetV2("1.0", num_classes=10, image_size=32)` for CIFAR."""

    variants = VARIANTS
    stage_paths = ("features.3", "features.6", "features.13", "features.17")  # the last blocks of H/4, H/8, H/16, H/32
    block_path = "features.5"
    torchvision_names = {"1.0": "mobilenet_v2"}

    def __init__(
        self,
        variant: str | float = "1.0",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(str(variant), num_classes, image_size, weights, **training)
        a = VARIANTS[self.variant].a
        c_in = round_to_8(32 * a)
        self.features = nn.Sequential(conv_bn_act(3, c_in, 3, stride=1 if self.small else 2, act=nn.ReLU6))
        for row, group in enumerate(GROUPS):
            c = round_to_8(group.c * a)
            for i in range(group.n):
                stride = group.s if i == 0 and not (self.small and row == 1) else 1
                self.features.append(InvertedResidual(c_in, c, stride, group.t))
                c_in = c
        c_last = round_to_8(1280 * max(1.0, a))
        self.features.append(conv_bn_act(c_in, c_last, act=nn.ReLU6))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(c_last, num_classes))
        self.apply(he_fan_out_01)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(global_average(self.features(x)))
