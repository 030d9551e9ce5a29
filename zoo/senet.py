"""SENet: a residual network whose blocks weigh their channels by a look at the whole image.

Paper:    Squeeze-and-Excitation Networks (Hu, Shen, Albanie, Sun, Wu; CVPR 2018) https://arxiv.org/abs/1709.01507
Code:     https://github.com/hujie-frank/SENet (the authors', Caffe); keys and functions of timm 1.0 `legacy_se*`
Block:    y = ReLU(x + s * F(x)), s = sigmoid(W2 ReLU(W1 mean(F(x)) + b1) + b2), one number a channel; W1: C -> C/16,
          W2: C/16 -> C;  F: the bottleneck of ResNet (stride in the first 1x1), of ResNeXt (in the 3x3), or of 154
          (1x1 to 2w channels, 3x3 to 4w in 64 groups)
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -4 stages-> (N, 2048, H/32, W/32) -> (N, K); 18 and 34: 512 channels
Defaults: reduction 16; dropout 0.2 before the head of 154 alone (the authors'). He initialisation by fan-out (timm)
Differs:  18 and 34 are timm's, not the paper's, and have a ReLU between F and the product with s. In training, timm
          drops 0.2 before every head. The stem of 154 has three 3x3 convolutions; its shortcuts that shrink the maps
          are 3x3. For images of up to 64 px the stem has stride 1 and no pooling, and its 7x7 is a 3x3: ours.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_out
from zoo.layers.layout import global_average
from zoo.layers.residual import conv1, conv3, stages
from zoo.layers.squeeze_excite import SqueezeExcite

REDUCTION = 16


@dataclass(frozen=True)
class Inner:
    """Inside of a bottleneck."""

    a: int  # channels of the first 1x1 / w
    b: int  # channels of the 3x3 / w
    groups: int  # of the 3x3
    stride_in_1x1: bool  # else in the 3x3
    shortcut: int = 1  # side of the kernel in shortcuts that shrink the maps


class SEBasic(nn.Module):
    """Two 3x3 convolutions. Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int):
        super().__init__()
        self.conv1 = conv3(c_in, w, stride)
        self.bn1 = nn.BatchNorm2d(w)
        self.conv2 = conv3(w, w)
        self.bn2 = nn.BatchNorm2d(w)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = SqueezeExcite(w, w // REDUCTION)
        self.downsample = projection(c_in, w, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.se_module(self.relu(self.bn2(self.conv2(y))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class SEBottleneck(nn.Module):
    """1x1 to a w channels, 3x3 to b w in groups, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int, inner: Inner):
        super().__init__()
        a, b = inner.a * w, inner.b * w
        first, second = (stride, 1) if inner.stride_in_1x1 else (1, stride)
        self.conv1 = conv1(c_in, a, first)
        self.bn1 = nn.BatchNorm2d(a)
        self.conv2 = conv3(a, b, second, groups=inner.groups)
        self.bn2 = nn.BatchNorm2d(b)
        self.conv3 = conv1(b, 4 * w)
        self.bn3 = nn.BatchNorm2d(4 * w)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = SqueezeExcite(4 * w, 4 * w // REDUCTION)
        self.downsample = projection(c_in, 4 * w, stride, inner.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.se_module(self.bn3(self.conv3(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


RESNET = Inner(a=1, b=1, groups=1, stride_in_1x1=True)
RESNEXT = Inner(a=2, b=2, groups=32, stride_in_1x1=False)  # 32 x 4d
SENET154 = Inner(a=2, b=4, groups=64, stride_in_1x1=False, shortcut=3)


@dataclass(frozen=True)
class Row:
    """A network of the paper; 18 and 34 are timm's."""

    depths: tuple[int, int, int, int]  # blocks per stage
    inner: Inner | None  # inside of the bottleneck; None: two 3x3 convolutions instead
    stem: tuple[int, ...] = (64,)  # channels of the stem's convolutions
    dropout: float = 0.0  # probability, before the head


VARIANTS = {
    "18": Row((2, 2, 2, 2), None),
    "34": Row((3, 4, 6, 3), None),
    "50": Row((3, 4, 6, 3), RESNET),
    "101": Row((3, 4, 23, 3), RESNET),
    "152": Row((3, 8, 36, 3), RESNET),
    "50-32x4d": Row((3, 4, 6, 3), RESNEXT),
    "101-32x4d": Row((3, 4, 23, 3), RESNEXT),
    "154": Row((3, 8, 36, 3), SENET154, stem=(64, 64, 128), dropout=0.2),
}


class SENet(Model):
    """`SENet("50")` is SE-ResNet-50, `SENet("50-32x4d")` SE-ResNeXt-50, `SENet("154")` the winner of ILSVRC 2017."""

    variants = VARIANTS
    stage_paths = ("layer1", "layer2", "layer3", "layer4")
    block_path = "layer2.1"
    timm_names = {
        **{depth: f"legacy_seresnet{depth}" for depth in ("18", "34", "50", "101", "152")},
        **{f"{depth}-32x4d": f"legacy_seresnext{depth}_32x4d" for depth in (50, 101)},
        "154": "legacy_senet154",
    }

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
        self.layer0 = stem(row.stem, self.small)
        self.pool0 = nn.Identity() if self.small else nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
        block, e = (SEBasic, 1) if row.inner is None else (partial(SEBottleneck, inner=row.inner), 4)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(block, row.depths, row.stem[-1], 64, e)
        self.dropout = nn.Dropout(row.dropout)
        self.last_linear = nn.Linear(512 * e, num_classes)
        self.apply(he_fan_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool0(self.layer0(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.last_linear(self.dropout(global_average(x)))


def stem(channels: tuple[int, ...], small: bool) -> nn.Sequential:
    """Return a 7x7 (3x3 for small images) or several 3x3 convolutions, each with BN and ReLU; the first has stride 2.

    Shapes: (N, 3, H, W) -> (N, channels[-1], H/2, W/2); of small images the size stays.
    """
    size, c_in = 3 if small or len(channels) > 1 else 7, 3
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, c_out in enumerate(channels, 1):
        stride = 2 if i == 1 and not small else 1
        layers[f"conv{i}"] = nn.Conv2d(c_in, c_out, size, stride=stride, padding=size // 2, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm2d(c_out)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        c_in = c_out
    return nn.Sequential(layers)


def projection(c_in: int, c_out: int, stride: int, size: int = 1) -> nn.Module | None:
    """Return a convolution and BN where the shape changes, else None; `size`: of the kernel where maps shrink."""
    if stride == 1 and c_in == c_out:
        return None
    size = size if stride > 1 else 1
    conv = nn.Conv2d(c_in, c_out, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))
