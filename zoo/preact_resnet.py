"""Pre-activation ResNet: batch norm and ReLU before each convolution, so that the shortcuts stay pure identities.

Paper:    Identity Mappings in Deep Residual Networks (He, Zhang, Ren, Sun; ECCV 2016) https://arxiv.org/abs/1603.05027
Code:     https://github.com/KaimingHe/resnet-1k-layers (the authors', CIFAR); keys and functions of timm 1.0
          `resnetv2_*`
Block:    y = x + F(x);  F basic: BN ReLU conv3x3, twice;  bottleneck: BN ReLU 1x1 (w), BN ReLU 3x3 (w), BN ReLU 1x1
          (4w). Where the shape changes: y = W ReLU BN x + F(x), W a 1x1 convolution, the BN and ReLU shared with F
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -stages-> (N, 512e, H/32, W/32) -BN ReLU-> (N, K), e = 1 basic, 4
          bottleneck;  CIFAR rows: (N, 16, H, W) -> (N, 64e, H/4, W/4) -> (N, K)
Defaults: training arguments of `Classifier`; He initialisation, fan-out (fb.resnet.torch)
Differs:  18 and 34 are timm's, not the paper's. ImageNet rows have the stride in the 3x3 (as timm), CIFAR bottlenecks
          in the first 1x1 (as the authors). 110 has projection shortcuts; the paper does not say which. The small-image
          stem of ImageNet rows (3x3, stride 1, no pooling) is ours.
"""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.frame.stages import Stages
from zoo.layers.init import he_fan_out
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


class Row(NamedTuple):
    """A network of the paper, or of timm (18, 34)."""

    block: type[PreActBasic] | type[PreActBottleneck]
    depths: tuple[int, ...]  # blocks of each stage
    width: int = 64  # channels of the stem; 16 in CIFAR rows


VARIANTS = {
    "18": Row(PreActBasic, (2, 2, 2, 2)),
    "34": Row(PreActBasic, (3, 4, 6, 3)),
    "50": Row(PreActBottleneck, (3, 4, 6, 3)),
    "101": Row(PreActBottleneck, (3, 4, 23, 3)),
    "152": Row(PreActBottleneck, (3, 8, 36, 3)),
    "200": Row(PreActBottleneck, (3, 24, 36, 3)),
    "110": Row(PreActBasic, (18, 18, 18), 16),
    "164": Row(PreActBottleneck, (18, 18, 18), 16),
    "1001": Row(PreActBottleneck, (111, 111, 111), 16),
}


class PreActResNet(Classifier):
    """`PreActResNet("50")` for ImageNet, `PreActResNet("164", num_classes=10)` for CIFAR.

    Args:
        variant: a key of `VARIANTS`: "18" "34" "50" "101" "152" "200"; CIFAR "110" "164" "1001".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 224, or 32 in CIFAR rows.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or a CIFAR row at more than 64 px.
    """

    timm_names = {str(depth): f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)}

    def __init__(
        self,
        variant: str | int = "50",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        variant = validate_choice(str(variant), VARIANTS, "PreActResNet")
        row = VARIANTS[variant]
        cifar = row.width == 16
        image_size = image_size or (32 if cifar else 224)
        if cifar and image_size > SMALL:
            raise ValueError(f"PreActResNet-{variant} is for images of up to {SMALL} px, got image_size={image_size}")
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        small = image_size <= SMALL
        conv = stem(row.width, deep=False, stride=1 if small else 2)
        self.stem = nn.Sequential(OrderedDict(conv=conv, pool=stem_pool(small)))
        block, e = partial(row.block, stride_in_1x1=cifar), row.block.expansion
        self.stages = Stages(Stage(blocks) for blocks in stages(block, row.depths, row.width, row.width, e))
        c = row.width * e * 2 ** (len(row.depths) - 1)
        self.norm = nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(OrderedDict(fc=nn.Conv2d(c, num_classes, kernel_size=1)))  # timm's key
        for part in (self.stem, self.stages):  # not the head: by fan-out its first loss would be far above ln K
            part.apply(he_fan_out)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages.values():
            x = stage(x)
        x = self.relu(self.norm(x)).mean((2, 3), keepdim=True)  # (N, C, 1, 1)
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
