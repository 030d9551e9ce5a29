"""Pre-activation ResNet: batch norm and ReLU before each convolution, so that the shortcuts stay pure identities.

Paper:    Identity Mappings in Deep Residual Networks (He, Zhang, Ren, Sun; ECCV 2016) https://arxiv.org/abs/1603.05027
Code:     https://github.com/KaimingHe/resnet-1k-layers (the authors', CIFAR); keys and functions of timm 1.0
          `resnetv2_*`
Block:    y = x + F(x);  F basic: BN ReLU conv3x3, twice;  bottleneck: BN ReLU 1x1 (w), BN ReLU 3x3 (w), BN ReLU 1x1
          (4w). Where the shape changes: y = W ReLU BN x + F(x), W a 1x1 convolution, the BN and ReLU shared with F
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -stages-> (N, 512e, H/32, W/32) -BN ReLU-> (N, K), e = 1 basic, 4
          bottleneck;  CIFAR rows: (N, 16, H, W) -> (N, 64e, H/4, W/4) -> (N, K)
Defaults: training arguments of `Classifier`; He initialisation, fan-out (fb.resnet.torch)
Differs:  18 and 34 are timm's, not the paper's: x itself goes around their first block. ImageNet rows have the stride
          in the 3x3 (as timm), CIFAR bottlenecks in the first 1x1 (as the authors). 20 is of
          github.com/hysts/pytorch_image_classification at 993089a. 110 has projection shortcuts; the paper does not
          say which. The small-image stem of ImageNet rows (3x3, stride 1, no pooling) is ours.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.frame.stages import Stages
from zoo.layers.init import he_fan_out
from zoo.layers.layout import global_average
from zoo.layers.residual import conv1, conv3, stages, stem, stem_pool


class PreActBasic(nn.Module):
    """Two 3x3 convolutions, each after BN and ReLU. Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    expansion = 1

    def __init__(self, c_in: int, w: int, stride: int, stride_in_1x1: bool):
        super().__init__()
        self.downsample = projection(c_in, w, stride)
        self.norm1 = nn.BatchNorm2d(c_in)
        self.conv1 = conv3(c_in, w, stride)
        self.norm2 = nn.BatchNorm2d(w)
        self.conv2 = conv3(w, w)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        pre = self.relu(self.norm1(x))
        y = self.conv1(pre)
        y = self.conv2(self.relu(self.norm2(y)))
        return y + (x if self.downsample is None else self.downsample(pre))


class PreActBottleneck(nn.Module):
    """1x1 to w channels, 3x3, 1x1 to 4w, each after BN and ReLU. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    expansion = 4

    def __init__(self, c_in: int, w: int, stride: int, stride_in_1x1: bool):
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.downsample = projection(c_in, 4 * w, stride)
        self.norm1 = nn.BatchNorm2d(c_in)
        self.conv1 = conv1(c_in, w, first)
        self.norm2 = nn.BatchNorm2d(w)
        self.conv2 = conv3(w, w, second)
        self.norm3 = nn.BatchNorm2d(w)
        self.conv3 = conv1(w, 4 * w)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        pre = self.relu(self.norm1(x))
        y = self.conv1(pre)
        y = self.conv2(self.relu(self.norm2(y)))
        y = self.conv3(self.relu(self.norm3(y)))
        return y + (x if self.downsample is None else self.downsample(pre))


@dataclass(frozen=True)
class Row:
    """A network of the paper, or of timm (18, 34)."""

    block: type[PreActBasic | PreActBottleneck]  # kind of block
    depths: tuple[int, ...]  # blocks per stage
    width: int = 64  # channels of the stem
    stride_in_1x1: bool = False  # of bottlenecks, else in the 3x3


CIFAR = {
    "20": Row(PreActBasic, (3, 3, 3), 16),
    "110": Row(PreActBasic, (18, 18, 18), 16),
    "164": Row(PreActBottleneck, (18, 18, 18), 16, stride_in_1x1=True),
    "1001": Row(PreActBottleneck, (111, 111, 111), 16, stride_in_1x1=True),
}
VARIANTS = {
    "18": Row(PreActBasic, (2, 2, 2, 2)),
    "34": Row(PreActBasic, (3, 4, 6, 3)),
    "50": Row(PreActBottleneck, (3, 4, 6, 3)),
    "101": Row(PreActBottleneck, (3, 4, 23, 3)),
    "152": Row(PreActBottleneck, (3, 8, 36, 3)),
    "200": Row(PreActBottleneck, (3, 24, 36, 3)),
    **CIFAR,
}


class PreActResNet(Model):
    """`PreActResNet("50")` for ImageNet, `PreActResNet("164", num_classes=10)` for CIFAR."""

    variants = VARIANTS
    block_path = "stages.1.blocks.1"
    small_only = CIFAR
    timm_names = {str(depth): f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)}

    def __init__(
        self,
        variant: str | int = "50",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        conv = stem(row.width, self.small)
        self.stem = nn.Sequential(OrderedDict(conv=conv, pool=stem_pool(self.small)))
        block, e = partial(row.block, stride_in_1x1=row.stride_in_1x1), row.block.expansion
        parts = stages(block, row.depths, row.width, row.width, e)
        if row.block is PreActBasic and self.variant in CIFAR:
            parts[0][0].downsample = nn.Identity()  # activated before the two paths part
        self.stages = layers = Stages(map(Stage, parts))
        c = row.width * e * 2 ** (len(row.depths) - 1)
        self.norm = nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(OrderedDict(fc=nn.Conv2d(c, num_classes, kernel_size=1)))  # timm's key
        self.stem.apply(he_fan_out)
        layers.apply(he_fan_out)  # not the head: by fan-out its first loss would be far above ln K

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages.values():
            x = stage(x)
        x = global_average(self.relu(self.norm(x)))[:, :, None, None]  # (N, C, 1, 1)
        return self.head(x).flatten(1)


class Stage(nn.Module):
    """Blocks under timm's key `blocks`."""

    def __init__(self, blocks: nn.Sequential):
        super().__init__()
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def projection(c_in: int, c_out: int, stride: int) -> nn.Module | None:
    """Return a 1x1 convolution where the shape changes, else None. It has no batch norm: its input has just had one."""
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(OrderedDict(conv=conv1(c_in, c_out, stride)))
