"""ResNet: blocks that learn what to add to their input; with the tweaks B, C and D of the Bag of Tricks.

Paper:    Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016) https://arxiv.org/abs/1512.03385
          Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 4
Code:     https://github.com/KaimingHe/deep-residual-networks (the authors', Caffe prototxt); keys and functions of
          torchvision 0.29 `resnet*` (18, 34, -B) and of timm 1.0 `resnet*c`, `resnet*d` (-C, -D)
Block:    y = ReLU(F(x) + shortcut(x));  F basic: BN conv3x3 ReLU BN conv3x3;  bottleneck: 1x1 (w), 3x3 (w), 1x1 (4w)
          v1: a bottleneck's stride is in the first 1x1;  B: in its 3x3;  C: B, and the 7x7 of the stem as three 3x3;
          D: C, and a shortcut that shrinks averages 2x2 before its 1x1
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -stages-> (N, 512e, H/32, W/32) -> (N, K), e = 1 basic, 4 bottleneck;
          CIFAR rows: (N, 16, H, W) -> (N, 64, H/4, W/4) -> (N, K)
Defaults: training arguments of `Classifier`, from the ImageNet section; He initialisation, fan-out (fb.resnet.torch)
Differs:  He et al. draw weights by fan-in. CIFAR rows "-B" take option B (projection) shortcuts, the plain ones option
          A. For images of up to 64 px the stem of the ImageNet rows is one 3x3 (three in C, D) of stride 1 without
          pooling, as the CIFAR literature has it; not in the papers.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier

CONV3 = {"kernel_size": 3, "padding": 1, "bias": False}


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
        y += x if self.downsample is None else self.downsample(x)  # in place: a pass over the maps less
        return self.relu(y)


class Bottleneck(nn.Module):
    """1x1 down to w channels, 3x3, 1x1 up to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    expansion = 4

    def __init__(self, c_in: int, w: int, stride: int, shortcut: nn.Module | None, tweak: str):
        super().__init__()
        first, second = (1, stride) if tweak else (stride, 1)  # B, C, D: a strided 1x1 never sees 3/4 of its input
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
        y += x if self.downsample is None else self.downsample(x)  # in place: a pass over the maps less
        return self.relu(y)


class PadShortcut(nn.Module):
    """Option A: every s-th pixel, new channels zero, half of them before and half after. No parameters."""

    def __init__(self, extra: int, stride: int):
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


#           block, blocks per stage: Table 1 of the paper
IMAGENET = {
    "18": (BasicBlock, (2, 2, 2, 2)),
    "34": (BasicBlock, (3, 4, 6, 3)),
    "50": (Bottleneck, (3, 4, 6, 3)),
    "101": (Bottleneck, (3, 4, 23, 3)),
    "152": (Bottleneck, (3, 8, 36, 3)),
}
CIFAR = {"20": 3, "32": 5, "44": 7, "56": 9, "110": 18, "1202": 200}  # n blocks a stage, depth 6n + 2: section 4.2

#        variant -> block, blocks per stage, channels of stage 1, tweak, shortcut
VARIANTS = {
    **{name: (block, blocks, 64, "", "B") for name, (block, blocks) in IMAGENET.items()},
    **{f"{name}-{t}": (*IMAGENET[name], 64, t, "B") for name in ("50", "101", "152") for t in "BCD"},
    **{f"{name}-D": (*IMAGENET[name], 64, "D", "B") for name in ("18", "34")},
    **{name: (BasicBlock, (n, n, n), 16, "", "A") for name, n in CIFAR.items()},
    **{f"{name}-B": (BasicBlock, (n, n, n), 16, "", "B") for name, n in CIFAR.items()},
}


class ResNet(Classifier):
    """`ResNet("50-D")` for ImageNet, `ResNet("18", num_classes=10, image_size=32)` and `ResNet("20", ...)` for CIFAR.

    Args:
        variant: a key of `VARIANTS`: "18" "34" "50" "101" "152", with "-B" "-C" "-D"; CIFAR "20" "32" "44" "56" "110"
            "1202", with "-B" for option B shortcuts.
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 224, or 32 in CIFAR rows.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or a CIFAR row at more than 64 px.
    """

    aliases = {"linear.": "fc."}  # akamaster/pytorch_resnet_cifar10 and most CIFAR code
    torchvision_names = {"18": "resnet18", "34": "resnet34"} | {f"{d}-B": f"resnet{d}" for d in (50, 101, 152)}
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
        **training,
    ):
        variant = validate_choice(str(variant), VARIANTS, "ResNet")
        block, blocks, width, tweak, shortcut = VARIANTS[variant]
        image_size = image_size or (224 if width == 64 else 32)
        if width == 16 and image_size > SMALL:
            raise ValueError(f"ResNet-{variant} is for images of up to {SMALL} px, got image_size={image_size}")
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        self.conv1 = stem(width, deep=tweak in ("C", "D"), stride=1 if image_size <= SMALL else 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if image_size <= SMALL else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        c_in = width
        for i, depth in enumerate(blocks):
            w, stride = width * 2**i, 1 if i == 0 else 2
            layer = stage(block, c_in, w, depth, stride, shortcut if tweak != "D" else "D", tweak)
            self.add_module(f"layer{i + 1}", layer)
            self._stage_paths[f"stage{i + 1}"] = f"layer{i + 1}"
            c_in = w * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c_in, num_classes)
        self.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for layer in self._stage_paths.values():
            x = getattr(self, layer)(x)
        return self.fc(self.avgpool(x).flatten(1))


def stem(width: int, deep: bool, stride: int) -> nn.Module:
    """7x7, or 3x3 for small images (stride 1); `deep` (C, D): 3x3 to w/2, 3x3 to w/2, 3x3 to w."""
    if not deep:
        size = 3 if stride == 1 else 7
        return nn.Conv2d(3, width, kernel_size=size, stride=stride, padding=size // 2, bias=False)
    half = width // 2
    return nn.Sequential(
        nn.Conv2d(3, half, stride=stride, **CONV3), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
        nn.Conv2d(half, half, **CONV3), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
        nn.Conv2d(half, width, **CONV3),
    )  # fmt: skip


def stage(block: type, c_in: int, w: int, depth: int, stride: int, shortcut: str, tweak: str) -> nn.Sequential:
    """`depth` blocks; the first one changes size and channels, so only it needs a shortcut with weights."""
    c_out = w * block.expansion
    change = None if stride == 1 and c_in == c_out else make_shortcut(c_in, c_out, stride, shortcut)
    first = block(c_in, w, stride, change, tweak)
    return nn.Sequential(first, *(block(c_out, w, 1, None, tweak) for _ in range(depth - 1)))


def make_shortcut(c_in: int, c_out: int, stride: int, kind: str) -> nn.Module:
    """Option A (pad), B (project) or tweak D (average, project): (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    if kind == "A":
        return PadShortcut(c_out - c_in, stride)
    if kind == "B":
        return nn.Sequential(nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(c_out))
    pool = nn.Identity() if stride == 1 else nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, nn.Conv2d(c_in, c_out, kernel_size=1, bias=False), nn.BatchNorm2d(c_out))


def init_weights(module: nn.Module) -> None:
    """N(0, 2 / (k^2 C_out)) for convolutions; batch norms start at 1 and 0, the head as torch has it."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
