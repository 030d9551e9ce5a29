"""The blocks of Inception-v3, whose branches are concatenated along the channels; stems that keep small images large.

Paper:    Rethinking the Inception Architecture for Computer Vision (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna; CVPR
          2016) https://arxiv.org/abs/1512.00567, figures 5 to 7 and 10; names and keys of torchvision's `inception_v3`
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.layers.conv_bn import ConvBNReLU


class A(nn.Module):
    """1x1; 1x1, 5x5; 1x1, 3x3, 3x3; pool, 1x1 to `pool` channels. Shapes: (N, C, H, W) -> (N, 224 + pool, H, W)."""

    def __init__(self, c_in: int, pool: int):
        super().__init__()
        self.branch1x1 = ConvBNReLU(c_in, 64, 1)
        self.branch5x5_1 = ConvBNReLU(c_in, 48, 1)
        self.branch5x5_2 = ConvBNReLU(48, 64, 5)
        self.branch3x3dbl_1 = ConvBNReLU(c_in, 64, 1)
        self.branch3x3dbl_2 = ConvBNReLU(64, 96, 3)
        self.branch3x3dbl_3 = ConvBNReLU(96, 96, 3)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.branch_pool = ConvBNReLU(c_in, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(self.pool(x))], 1)


class B(nn.Module):
    """3x3; 1x1, 3x3, 3x3; pool: halves the maps. Shapes: (N, C, H, W) -> (N, C + 480, (H - 1) / 2, (W - 1) / 2)."""

    def __init__(self, c_in: int):
        super().__init__()
        self.branch3x3 = ConvBNReLU(c_in, 384, 3, stride=2, padding=0)
        self.branch3x3dbl_1 = ConvBNReLU(c_in, 64, 1)
        self.branch3x3dbl_2 = ConvBNReLU(64, 96, 3)
        self.branch3x3dbl_3 = ConvBNReLU(96, 96, 3, stride=2, padding=0)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, self.pool(x)], 1)


class C(nn.Module):
    """1x1; 1x7, 7x1; 7x1 and 1x7 twice; pool, 1x1; `c7` channels inside. Shapes: (N, C, H, W) -> (N, 768, H, W)."""

    def __init__(self, c_in: int, c7: int):
        super().__init__()
        self.branch1x1 = ConvBNReLU(c_in, 192, 1)
        self.branch7x7_1 = ConvBNReLU(c_in, c7, 1)
        self.branch7x7_2 = ConvBNReLU(c7, c7, (1, 7))
        self.branch7x7_3 = ConvBNReLU(c7, 192, (7, 1))
        self.branch7x7dbl_1 = ConvBNReLU(c_in, c7, 1)
        self.branch7x7dbl_2 = ConvBNReLU(c7, c7, (7, 1))
        self.branch7x7dbl_3 = ConvBNReLU(c7, c7, (1, 7))
        self.branch7x7dbl_4 = ConvBNReLU(c7, c7, (7, 1))
        self.branch7x7dbl_5 = ConvBNReLU(c7, 192, (1, 7))
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.branch_pool = ConvBNReLU(c_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(self.pool(x))], 1)


class D(nn.Module):
    """3x3; 1x7, 7x1, 3x3; pool: halves the maps. Shapes: (N, C, H, W) -> (N, C + 512, (H - 1) / 2, (W - 1) / 2)."""

    def __init__(self, c_in: int):
        super().__init__()
        self.branch3x3_1 = ConvBNReLU(c_in, 192, 1)
        self.branch3x3_2 = ConvBNReLU(192, 320, 3, stride=2, padding=0)
        self.branch7x7x3_1 = ConvBNReLU(c_in, 192, 1)
        self.branch7x7x3_2 = ConvBNReLU(192, 192, (1, 7))
        self.branch7x7x3_3 = ConvBNReLU(192, 192, (7, 1))
        self.branch7x7x3_4 = ConvBNReLU(192, 192, 3, stride=2, padding=0)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, self.pool(x)], 1)


class E(nn.Module):
    """1x1; 1x1 and a fork; 1x1, 3x3 and a fork (1x3 | 3x1); pool, 1x1. Shapes: (N, C, H, W) -> (N, 2048, H, W)."""

    def __init__(self, c_in: int):
        super().__init__()
        self.branch1x1 = ConvBNReLU(c_in, 320, 1)
        self.branch3x3_1 = ConvBNReLU(c_in, 384, 1)
        self.branch3x3_2a = ConvBNReLU(384, 384, (1, 3))
        self.branch3x3_2b = ConvBNReLU(384, 384, (3, 1))
        self.branch3x3dbl_1 = ConvBNReLU(c_in, 448, 1)
        self.branch3x3dbl_2 = ConvBNReLU(448, 384, 3)
        self.branch3x3dbl_3a = ConvBNReLU(384, 384, (1, 3))
        self.branch3x3dbl_3b = ConvBNReLU(384, 384, (3, 1))
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.branch_pool = ConvBNReLU(c_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        forks = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        forks += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *forks, self.branch_pool(self.pool(x))], 1)


def keep_size(*layers: Any) -> None:
    """Set stride and padding to 1 in 3x3 convolutions of timm's Inceptions, so that maps keep their size.

    Args:
        layers: timm's `ConvNormAct`.
    """
    for layer in layers:
        layer.conv.stride, layer.conv.padding = (1, 1), (1, 1)
