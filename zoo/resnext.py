"""ResNeXt: a residual block of many equal paths, which are one grouped convolution.

Paper:    Aggregated Residual Transformations for Deep Neural Networks (Xie, Girshick, Dollar, Tu, He; CVPR 2017)
          https://arxiv.org/abs/1611.05431, Table 1, form (c) of the block
Code:     https://github.com/facebookresearch/ResNeXt (the authors', Lua); keys and functions of torchvision 0.29
          `resnext*` and timm 1.0 `resnext101_32x4d`
Block:    y = ReLU(x + F(x)), F: 1x1 (D) BN ReLU, 3x3 (D, in C groups) BN ReLU, 1x1 (4w) BN;  "C x d d": cardinality C,
          d channels a path at w = 64, so that D = C d w / 64
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -4 stages-> (N, 2048, H/32, W/32) -> (N, K);
          CIFAR rows ("29-..."): (N, 64, H, W) -3 stages-> (N, 1024, H/4, W/4) -> (N, K)
Defaults: He initialisation by fan-out, bias of the head 0 (the authors')
Differs:  the small-image stem of ImageNet rows (3x3, stride 1, no pooling) is ours. CIFAR rows are the authors'
          networks with torchvision's keys.
"""

from dataclasses import dataclass
from functools import partial
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_out
from zoo.layers.layout import GlobalAvgPool
from zoo.layers.residual import conv1, conv3, projection, stages, stem, stem_pool


@dataclass(frozen=True)
class Row:
    """A network of Table 1, or one of the paper's for CIFAR (three stages)."""

    depths: tuple[int, ...]  # blocks per stage
    cardinality: int  # C, number of paths
    path: int  # d, channels of a path at w = 64


CIFAR = {
    "29-8x64d": Row((3, 3, 3), cardinality=8, path=64),
    "29-16x64d": Row((3, 3, 3), cardinality=16, path=64),
}
VARIANTS = {
    "50-32x4d": Row((3, 4, 6, 3), cardinality=32, path=4),
    "101-32x4d": Row((3, 4, 23, 3), cardinality=32, path=4),
    "101-32x8d": Row((3, 4, 23, 3), cardinality=32, path=8),
    "101-64x4d": Row((3, 4, 23, 3), cardinality=64, path=4),
    **CIFAR,
}


class GroupedBottleneck(nn.Module):
    """1x1 to D channels, 3x3 in C groups, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int, cardinality: int, path: int):
        super().__init__()
        inner, c_out = cardinality * path * w // 64, 4 * w
        self.conv1 = conv1(c_in, inner)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv3(inner, inner, stride, groups=cardinality)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = conv1(inner, c_out)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)  # in place: saves one memory pass
        return self.relu(y)


class ResNeXt(Model):
    """`ResNeXt("50-32x4d")` for ImageNet, `ResNeXt("29-8x64d", num_classes=10)` for CIFAR."""

    variants = VARIANTS
    small_only = CIFAR
    stage_paths = ("layer1", "layer2", "layer3", "layer4")
    block_path = "layer2.1"
    torchvision_names = {v: f"resnext{v.replace('-', '_')}" for v in ("50-32x4d", "101-32x8d", "101-64x4d")}
    timm_names = torchvision_names | {"101-32x4d": "resnext101_32x4d"}

    def __init__(
        self,
        variant: str | int = "50-32x4d",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        self.conv1 = stem(64, self.small)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = stem_pool(self.small)
        block = partial(GroupedBottleneck, cardinality=row.cardinality, path=row.path)
        self.layer1, self.layer2, self.layer3, *layer4 = stages(block, row.depths, 64, 64, 4)
        self.layer4 = layer4[0] if layer4 else None  # CIFAR rows have three
        self.avgpool = GlobalAvgPool()
        self.fc = nn.Linear(2048 if layer4 else 1024, num_classes)
        self.apply(he_fan_out)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = x if self.layer4 is None else self.layer4(x)
        return self.fc(self.avgpool(x).flatten(1))
