"""ResNet: blocks that learn what to add to their input; with the tweaks B, C and D of the Bag of Tricks.

Paper:    Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016) https://arxiv.org/abs/1512.03385
          Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 4
Code:     https://github.com/KaimingHe/deep-residual-networks (the authors', Caffe prototxt); keys and functions of
          torchvision 0.29 and timm 1.0 `resnet*` (18 to 152), and of timm 1.0 `resnet*c`, `resnet*d` (-C, -D)
Block:    y = ReLU(F(x) + shortcut(x));  F basic: BN conv3x3 ReLU BN conv3x3;  bottleneck: 1x1 (w), 3x3 (w), 1x1 (4w)
          50, 101, 152: a bottleneck's stride is in its 3x3 (the Bag of Tricks' B);  -v1: in the first 1x1 (He et al.);
          -C: B, and the 7x7 of the stem as three 3x3;  -D: C, and a shortcut that shrinks averages 2x2 before its 1x1
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -stages-> (N, 512e, H/32, W/32) -> (N, K), e = 1 basic, 4 bottleneck;
          CIFAR rows: (N, 16, H, W) -> (N, 64, H/4, W/4) -> (N, K)
Defaults: training arguments of `Classifier`, from the ImageNet section; He initialisation, fan-out (fb.resnet.torch)
Differs:  "50", "101" and "152" are what nearly everybody's files hold; the network of He et al. is "50-v1". The two
          have the same keys and shapes: plain weights do not tell which they are of, and give wrong logits in the
          other. So do timm's `resnetaa*` and `resnetblur*` (averages before a stride) in 50 and 50-D.
          He et al. draw weights by fan-in. CIFAR rows "-B" take option B (projection) shortcuts, the plain ones option
          A, half of the new channels before the old ones (a code with all of them behind has the same keys). For images
          of up to 64 px the stem of the ImageNet rows is one 3x3 (three in C, D) of stride 1 without pooling, as the
          CIFAR literature has it; not in the papers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.layout import GlobalAvgPool, every

CONV3: dict[str, Any] = {"kernel_size": 3, "padding": 1, "bias": False}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions. Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    expansion = 1

    def __init__(self, c_in: int, w: int, stride: int, shortcut: nn.Module | None, tweak: str):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, w, stride=stride, **CONV3)
        self.bn1 = nn.BatchNorm2d(w)
        self.conv2 = nn.Conv2d(w, w, **CONV3)
        self.bn2 = nn.BatchNorm2d(w)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)  # in place: saves one memory pass
        return self.relu(y)


class Bottleneck(nn.Module):
    """1x1 down to w channels, 3x3, 1x1 up to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    expansion = 4

    def __init__(self, c_in: int, w: int, stride: int, shortcut: nn.Module | None, tweak: str):
        super().__init__()
        first, second = (stride, 1) if tweak == "v1" else (1, stride)  # a strided 1x1 never sees 3/4 of its input
        self.conv1 = nn.Conv2d(c_in, w, kernel_size=1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(w)
        self.conv2 = nn.Conv2d(w, w, stride=second, **CONV3)
        self.bn2 = nn.BatchNorm2d(w)
        self.conv3 = nn.Conv2d(w, 4 * w, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * w)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)  # in place: saves one memory pass
        return self.relu(y)


class PadShortcut(nn.Module):
    """Option A: every s-th pixel, new channels zero, half of them before and half after. No parameters."""

    def __init__(self, extra: int, stride: int):
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(every(x, self.stride), (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


#           block, blocks per stage: Table 1 of the paper
IMAGENET: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    "18": (BasicBlock, (2, 2, 2, 2)),
    "34": (BasicBlock, (3, 4, 6, 3)),
    "50": (Bottleneck, (3, 4, 6, 3)),
    "101": (Bottleneck, (3, 4, 23, 3)),
    "152": (Bottleneck, (3, 8, 36, 3)),
}
CIFAR = {"20": 3, "32": 5, "44": 7, "56": 9, "110": 18, "1202": 200}  # n blocks a stage, depth 6n + 2: section 4.2


@dataclass(frozen=True)
class Row:
    """One network of the papers."""

    block: type[BasicBlock | Bottleneck]
    depths: tuple[int, ...]  # blocks per stage
    width: int = 64  # w of stage 1; twice as much in each of the next
    tweak: str = "B"  # "v1", or "B", "C" or "D" of the Bag of Tricks; v1 and B differ in bottlenecks only
    shortcut: str = "B"  # where the size changes: option "A" or "B"


VARIANTS = {
    **{name: Row(*row) for name, row in IMAGENET.items()},
    **{f"{name}-{t}": Row(*IMAGENET[name], tweak=t) for name in ("50", "101", "152") for t in ("v1", "C", "D")},
    **{f"{name}-D": Row(*IMAGENET[name], tweak="D") for name in ("18", "34")},
    **{name: Row(BasicBlock, (n, n, n), 16, shortcut="A") for name, n in CIFAR.items()},
    **{f"{name}-B": Row(BasicBlock, (n, n, n), 16) for name, n in CIFAR.items()},
}


class ResNet(Model):
    """`ResNet("50-D")` for ImageNet; `ResNet("18", num_classes=10, image_size=32)`, `ResNet("20", ...)` for CIFAR."""

    variants: ClassVar[Mapping[str, Row]] = VARIANTS
    small_only = (*CIFAR, *(f"{name}-B" for name in CIFAR))
    stage_paths = ("layer1", "layer2", "layer3", "layer4")
    block_path = "layer2.1"
    aliases = {"linear.": "fc."}  # akamaster/pytorch_resnet_cifar10 and most CIFAR code
    torchvision_names = {depth: f"resnet{depth}" for depth in IMAGENET}
    twins = {f"{depth}-v1": depth for depth in ("50", "101", "152")}  # nearly all files are of these
    timm_names = (
        torchvision_names
        | {f"{depth}-C": f"resnet{depth}c" for depth in (50, 101, 152)}
        | {f"{depth}-D": f"resnet{depth}d" for depth in (18, 34, 50, 101, 152)}
    )

    def __init__(
        self,
        variant: str | int = "50",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = self.variants[self.variant]
        n1, n2, n3, *n4 = row.depths
        w, e, kind = row.width, row.block.expansion, ("D" if row.tweak == "D" else row.shortcut, row.tweak)
        self.conv1 = stem(w, deep=row.tweak in ("C", "D"), stride=1 if self.small else 2)
        self.bn1 = nn.BatchNorm2d(w)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if self.small else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = stage(row.block, w, w, n1, 1, *kind)
        self.layer2 = stage(row.block, w * e, 2 * w, n2, 2, *kind)
        self.layer3 = stage(row.block, 2 * w * e, 4 * w, n3, 2, *kind)
        self.layer4 = stage(row.block, 4 * w * e, 8 * w, n4[0], 2, *kind) if n4 else None  # CIFAR rows have three
        self.avgpool = GlobalAvgPool()
        self.fc = nn.Linear((8 if n4 else 4) * w * e, num_classes)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = x if self.layer4 is None else self.layer4(x)
        return self.fc(self.avgpool(x).flatten(1))


def stem(width: int, deep: bool, stride: int) -> nn.Module:
    """Return a 7x7, or 3x3 for small images (stride 1); `deep` (C, D): 3x3 to w/2, 3x3 to w/2, 3x3 to w."""
    if not deep:
        size = 3 if stride == 1 else 7
        return nn.Conv2d(3, width, kernel_size=size, stride=stride, padding=size // 2, bias=False)
    half = width // 2
    return nn.Sequential(
        nn.Conv2d(3, half, stride=stride, **CONV3), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
        nn.Conv2d(half, half, **CONV3), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
        nn.Conv2d(half, width, **CONV3),
    )  # fmt: skip


def stage(block: Any, c_in: int, w: int, depth: int, stride: int, shortcut: str, tweak: str) -> nn.Sequential:
    """Return `depth` blocks; the first one changes size and channels, so only it needs a shortcut with weights."""
    c_out = w * block.expansion
    change = None if stride == 1 and c_in == c_out else make_shortcut(c_in, c_out, stride, shortcut)
    first = block(c_in, w, stride, change, tweak)
    return nn.Sequential(first, *(block(c_out, w, 1, None, tweak) for _ in range(depth - 1)))


def make_shortcut(c_in: int, c_out: int, stride: int, kind: str) -> nn.Module:
    """Return option A (pad), B (project) or tweak D (average, project): (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    if kind == "A":
        return PadShortcut(c_out - c_in, stride)
    if kind == "B":
        return nn.Sequential(nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(c_out))
    pool = nn.Identity() if stride == 1 else nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, nn.Conv2d(c_in, c_out, kernel_size=1, bias=False), nn.BatchNorm2d(c_out))


def init_weights(module: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / (k^2 C_out)); batch norms start at 1 and 0, the head as torch has it."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
