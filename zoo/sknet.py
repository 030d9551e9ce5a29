"""SKNet: neurons that choose the size of their receptive field, between two kernels, from what the image shows.

Paper:    Selective Kernel Networks (Li, Wang, Hu, Yang; CVPR 2019) https://arxiv.org/abs/1903.06586, Table 1
Code:     https://github.com/implus/SKNet (the authors', Caffe, models/sknet50.prototxt); keys and function of timm 1.0
          `skresnext50_32x4d`
Block:    y = ReLU(x + F(x)), F: 1x1 (2w) BN ReLU, selective kernel (2w), 1x1 (4w) BN
          selective kernel: U1 = conv3x3, U2 = conv3x3 of dilation 2, each of 32 groups, BN, ReLU;
          z = ReLU BN W mean(U1 + U2), d numbers; a = softmax over the two of (A1 z, A2 z); V = a1 * U1 + a2 * U2
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -4 stages-> (N, 2048, H/32, W/32) -> (N, K)
Defaults: M = 2 branches, G = 32 groups, r = 16, d = max(2w / r, 32) (Table 1); He initialisation by fan-in,
          N(0, 0.01^2) for W, A1, A2 and the head (the authors')
Differs:  the stem's pooling pads by 1 (timm), the authors' rounds up instead. In the authors' file of 101, d is 16 in
          the second stage; here it is 32, as in the equation. A1 and A2 have no bias, as in the equation, the authors'
          file and timm: 27,479,784 parameters in 50 and 48,736,040 in 101; with biases it would be 27,494,888 and
          48,768,552. For images of up to 64 px the stem is one 3x3 of stride 1 without pooling; not in the paper.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.conv_bn import conv_bn
from zoo.layers.dilated_conv import DilatedConv2d
from zoo.layers.init import he_fan_in
from zoo.layers.layout import global_average
from zoo.layers.residual import projection, stages, stem, stem_pool


@dataclass(frozen=True)
class Row:
    """A network of the paper: ResNet's depths."""

    depths: tuple[int, int, int, int]  # blocks per stage


VARIANTS = {"50": Row((3, 4, 6, 3)), "101": Row((3, 4, 23, 3))}
GROUPS, REDUCTION, LEAST = 32, 16, 32  # G, r, and the least d


def branch(c: int, stride: int, dilation: int) -> nn.Sequential:
    """Return U: a grouped 3x3 convolution, batch norm, ReLU. Shapes: (N, C, H, W) -> (N, C, H/s, W/s)."""
    kind = nn.Conv2d if dilation == 1 else DilatedConv2d
    conv = kind(c, c, 3, stride, padding=dilation, dilation=dilation, groups=GROUPS, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(c), act=nn.ReLU(inplace=True)))


class Selection(nn.Module):
    """Weights a of the branches, of sum 1 over them: U1 + U2 (N, C, H, W) -> (N, 2, C, 1, 1)."""

    def __init__(self, c: int):
        super().__init__()
        d = max(c // REDUCTION, LEAST)
        self.fc_reduce = nn.Conv2d(c, d, kernel_size=1, bias=False)
        self.bn = nn.BatchNorm2d(d)
        self.act = nn.ReLU(inplace=True)
        self.fc_select = nn.Conv2d(d, 2 * c, kernel_size=1, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        s = global_average(u)[:, :, None, None]  # (N, C, 1, 1)
        z = self.act(self.bn(self.fc_reduce(s)))  # (N, d, 1, 1)
        return self.fc_select(z).unflatten(1, (2, -1)).softmax(1)


class SelectiveKernel(nn.Module):
    """Two kernels, and the choice between them. Shapes: (N, C, H, W) -> (N, C, H/s, W/s)."""

    def __init__(self, c: int, stride: int):
        super().__init__()
        self.paths = nn.ModuleList(branch(c, stride, dilation) for dilation in (1, 2))
        self.attn = Selection(c)

    def forward(self, x: Tensor) -> Tensor:
        u1, u2 = (path(x) for path in self.paths)
        a1, a2 = self.attn(u1 + u2).unbind(1)
        return a1 * u1 + a2 * u2


class SKBottleneck(nn.Module):
    """1x1 to 2w channels, selective kernel, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int):
        super().__init__()
        self.conv1 = conv_bn(c_in, 2 * w)
        self.conv2 = SelectiveKernel(2 * w, stride)
        self.conv3 = conv_bn(2 * w, 4 * w, relu=False)
        self.act = nn.ReLU(inplace=True)
        self.downsample = projection(c_in, 4 * w, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(self.conv2(self.conv1(x)))
        return self.act(y + (x if self.downsample is None else self.downsample(x)))


class SKNet(Model):
    """`SKNet("50")` for ImageNet, `SKNet("50", num_classes=10, image_size=32)` for small images.

    In training a batch needs two images or more: the batch norm in `Selection` sees one number of each image.
    """

    variants = VARIANTS
    stage_paths = ("layer1", "layer2", "layer3", "layer4")
    block_path = "layer2.1"
    timm_names = {"50": "skresnext50_32x4d"}

    def __init__(
        self,
        variant: str | int = "50",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        depths = VARIANTS[self.variant].depths
        self.conv1 = stem(64, self.small)
        self.bn1 = nn.BatchNorm2d(64)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = stem_pool(self.small)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(SKBottleneck, depths, 64, 64, 4)
        self.fc = nn.Linear(2048, num_classes)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(global_average(x))


def init_weights(module: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / (k^2 C_in / groups)), W, A and the head from N(0, 0.01^2); set biases to 0."""
    if isinstance(module, nn.Conv2d):
        he_fan_in(module)
    elif isinstance(module, Selection):  # comes after its convolutions
        nn.init.normal_(module.fc_reduce.weight, std=0.01)
        nn.init.normal_(module.fc_select.weight, std=0.01)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
