"""Wide ResNet: fewer and wider residual blocks, which learn as much as very deep thin ones and run faster.

Paper:    Wide Residual Networks (Zagoruyko, Komodakis; BMVC 2016) https://arxiv.org/abs/1605.07146
Code:     https://github.com/szagoruyko/wide-residual-networks (the authors'; names of the CIFAR rows' layers as in its
          pytorch/resnet.py); keys and functions of torchvision 0.29 `wide_resnet50_2`, `wide_resnet101_2`
Block:    CIFAR rows: y = x + F(o), o = ReLU BN x, F: conv3x3 BN ReLU dropout conv3x3; where the width changes:
          y = W o + F(o), W a 1x1 convolution. ImageNet rows: the bottleneck of ResNet-B, its inner width doubled
Shapes:   "d-k", d = 6n + 4: (N, 3, H, W) -> (N, 16, H, W) -3 groups of n blocks-> (N, 64k, H/4, W/4) -BN ReLU-> (N, K);
          "50-2": (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -4 stages-> (N, 2048, H/32, W/32) -> (N, K)
Defaults: dropout 0; the authors take 0.3 on CIFAR and 0.4 on SVHN. CIFAR rows: He initialisation by fan-in and a head
          with bias 0 (their pytorch/; their Lua code has fan-out). ImageNet rows: by fan-out (torchvision)
Differs:  gammas start at 1; both of the authors' codes draw them from U(0, 1). In their files the keys of convolutions
          lack ".weight". 101-2 is torchvision's, not the paper's. The small-image stem of ImageNet rows (3x3, stride 1,
          no pooling) is ours.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_in, he_fan_out
from zoo.layers.layout import global_average
from zoo.layers.residual import conv1, conv3, projection, stages, stem, stem_pool


class WideBasic(nn.Module):
    """Two 3x3 convolutions, each after BN and ReLU. Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int, dropout: float):
        super().__init__()
        self.bn0 = nn.BatchNorm2d(c_in)
        self.conv0 = conv3(c_in, w, stride)
        self.bn1 = nn.BatchNorm2d(w)
        self.dropout = nn.Dropout(dropout)
        self.conv1 = conv3(w, w)
        self.relu = nn.ReLU(inplace=True)
        self.convdim = None if c_in == w else conv1(c_in, w, stride)

    def forward(self, x: Tensor) -> Tensor:
        o = self.relu(self.bn0(x))
        y = self.relu(self.bn1(self.conv0(o)))
        return self.conv1(self.dropout(y)) + (x if self.convdim is None else self.convdim(o))


class WideBottleneck(nn.Module):
    """1x1 to kw channels, 3x3, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int, k: int):
        super().__init__()
        self.conv1 = conv1(c_in, k * w)
        self.bn1 = nn.BatchNorm2d(k * w)
        self.conv2 = conv3(k * w, k * w, stride)
        self.bn2 = nn.BatchNorm2d(k * w)
        self.conv3 = conv1(k * w, 4 * w)
        self.bn3 = nn.BatchNorm2d(4 * w)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(c_in, 4 * w, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


@dataclass(frozen=True)
class Row:
    """A network of the paper's Table 4 (three groups, for CIFAR), or of torchvision (four stages, for ImageNet)."""

    depths: tuple[int, ...]  # blocks per group or stage
    k: int  # width / width of ResNet


def cifar(depth: int, k: int) -> Row:
    """Return row "depth-k": four layers are outside the blocks, and each block of the three groups has two."""
    return Row(((depth - 4) // 6,) * 3, k)


# "depth-k"; thin rows as in later papers
CIFAR = {
    f"{d}-{k}": cifar(d, k)
    for d, widths in {16: (1, 2, 4, 8, 10), 22: (8, 10), 28: (2, 10, 12), 40: (1, 2, 4, 8, 10)}.items()
    for k in widths
}
VARIANTS = {**CIFAR, "50-2": Row((3, 4, 6, 3), 2), "101-2": Row((3, 4, 23, 3), 2)}


class WideResNet(Model):
    """`WideResNet("28-10", num_classes=10, dropout=0.3)` for CIFAR, `WideResNet("50-2")` for ImageNet.

    Args:
        dropout: probability, in [0, 1), that a feature between a block's two convolutions is dropped; CIFAR rows only.

    Raises:
        ValueError: dropout in an ImageNet row.
    """

    variants = VARIANTS
    small_only = CIFAR
    torchvision_names = {"50-2": "wide_resnet50_2", "101-2": "wide_resnet101_2"}
    timm_names = torchvision_names

    def __init__(
        self,
        variant: str | int = "28-10",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        dropout: float = 0.0,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        self.cifar = len(row.depths) == 3
        if not self.cifar and dropout > 0:
            raise ValueError(f"WideResNet-{self.variant} has no place for dropout: it stands between 3x3 convolutions")
        if self.cifar:
            self.build_cifar(row, dropout)
        else:
            self.build_imagenet(row)

    def build_cifar(self, row: Row, dropout: float) -> None:
        """Create the layers of the paper's Table 1."""
        (n0, n1, n2), k = row.depths, row.k
        self.stage_paths, self.block_path = ("group0", "group1", "group2"), "group1.block1"
        self.conv0 = conv3(3, 16)
        self.group0 = group(16, 16 * k, n0, 1, dropout)
        self.group1 = group(16 * k, 32 * k, n1, 2, dropout)
        self.group2 = group(32 * k, 64 * k, n2, 2, dropout)
        self.bn = nn.BatchNorm2d(64 * k)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(64 * k, self.num_classes)
        self.apply(he_fan_in)
        nn.init.zeros_(self.fc.bias)

    def build_imagenet(self, row: Row) -> None:
        """Create the layers of ResNet-B with wide bottlenecks."""
        self.stage_paths, self.block_path = ("layer1", "layer2", "layer3", "layer4"), "layer2.1"
        self.conv1 = stem(64, self.small)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = stem_pool(self.small)
        block = partial(WideBottleneck, k=row.k)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(block, row.depths, 64, 64, 4)
        self.fc = nn.Linear(2048, self.num_classes)
        self.apply(he_fan_out)

    def forward(self, x: Tensor) -> Tensor:
        if self.cifar:
            x = self.group2(self.group1(self.group0(self.conv0(x))))
            x = self.relu(self.bn(x))
        else:
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(global_average(x))


def group(c_in: int, w: int, n: int, stride: int, dropout: float) -> nn.Sequential:
    """Return n blocks, the first of which changes size and width: (N, C_in, H, W) -> (N, w, H/s, W/s)."""
    blocks = [WideBasic(c_in if i == 0 else w, w, stride if i == 0 else 1, dropout) for i in range(n)]
    return nn.Sequential(OrderedDict((f"block{i}", block) for i, block in enumerate(blocks)))
