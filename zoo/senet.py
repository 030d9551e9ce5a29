"""SENet: a residual network whose blocks weigh their channels by a look at the whole image.

Paper:    Squeeze-and-Excitation Networks (Hu, Shen, Albanie, Sun, Wu; CVPR 2018) https://arxiv.org/abs/1709.01507
Code:     https://github.com/hujie-frank/SENet (the authors', Caffe); keys and functions of timm 1.0 `legacy_se*`
Block:    y = ReLU(x + s * F(x)), s = sigmoid(W2 ReLU(W1 mean(F(x)) + b1) + b2), one number a channel; W1: C -> C/16,
          W2: C/16 -> C;  F: the bottleneck of ResNet (stride in the first 1x1), of ResNeXt (in the 3x3), or 154's
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -4 stages-> (N, 2048, H/32, W/32) -> (N, K); 18 and 34: 512 channels
Defaults: reduction 16; dropout 0.2 before the head of 154 alone (the authors'). He initialisation by fan-out (timm)
Differs:  18 and 34 are timm's, not the paper's, and have a ReLU between F and its weighing. In training, timm drops 0.2
          before every head. The stem of 154 has three 3x3 convolutions, its shrinking shortcuts are 3x3. For images of
          up to 64 px the stem has stride 1 and no pooling, its 7x7 is a 3x3; not in the paper.
"""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.resnet import CONV3, init_weights

REDUCTION = 16


class Inner(NamedTuple):
    """Inside of a bottleneck: 1x1 to a w channels, 3x3 to b w in groups."""

    a: int
    b: int
    groups: int
    stride_in_1x1: bool


class SqueezeExcite(nn.Module):
    """Weighs channels: (N, C, H, W) -> (N, C, H, W), by sigmoid's output (N, C, 1, 1); `squeezed` channels between."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, kernel_size=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(squeezed, channels, kernel_size=1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        s = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return x * self.sigmoid(self.fc2(self.relu(self.fc1(s))))


class SEBasic(nn.Module):
    """Two 3x3 convolutions. Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    expansion = 1

    def __init__(self, c_in: int, w: int, stride: int, shortcut: nn.Module | None):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, w, stride=stride, **CONV3)
        self.bn1 = nn.BatchNorm2d(w)
        self.conv2 = nn.Conv2d(w, w, **CONV3)
        self.bn2 = nn.BatchNorm2d(w)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = SqueezeExcite(w, w // REDUCTION)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.se_module(self.relu(self.bn2(self.conv2(y))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class SEBottleneck(nn.Module):
    """1x1 to a w channels, 3x3 to b w in groups, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    expansion = 4

    def __init__(self, c_in: int, w: int, stride: int, shortcut: nn.Module | None, inner: Inner):
        super().__init__()
        a, b = inner.a * w, inner.b * w
        first, second = (stride, 1) if inner.stride_in_1x1 else (1, stride)
        self.conv1 = nn.Conv2d(c_in, a, kernel_size=1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(a)
        self.conv2 = nn.Conv2d(a, b, stride=second, groups=inner.groups, **CONV3)
        self.bn2 = nn.BatchNorm2d(b)
        self.conv3 = nn.Conv2d(b, 4 * w, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * w)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = SqueezeExcite(4 * w, 4 * w // REDUCTION)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.se_module(self.bn3(self.conv3(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


RESNET = Inner(a=1, b=1, groups=1, stride_in_1x1=True)
RESNEXT = Inner(a=2, b=2, groups=32, stride_in_1x1=False)  # 32 x 4d
SENET154 = Inner(a=2, b=4, groups=64, stride_in_1x1=False)

#        variant -> blocks per stage, inside of the bottleneck (None: two 3x3 instead)
VARIANTS = {
    "18": ((2, 2, 2, 2), None),
    "34": ((3, 4, 6, 3), None),
    "50": ((3, 4, 6, 3), RESNET),
    "101": ((3, 4, 23, 3), RESNET),
    "152": ((3, 8, 36, 3), RESNET),
    "50-32x4d": ((3, 4, 6, 3), RESNEXT),
    "101-32x4d": ((3, 4, 23, 3), RESNEXT),
    "154": ((3, 8, 36, 3), SENET154),
}


class SENet(Classifier):
    """`SENet("50")` is SE-ResNet-50, `SENet("50-32x4d")` SE-ResNeXt-50, `SENet("154")` the winner of ILSVRC 2017.

    Args:
        variant: a key of `VARIANTS`.
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are).
    """

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
        **training,
    ):
        variant = validate_choice(str(variant), VARIANTS, "SENet")
        blocks, inner = VARIANTS[variant]
        image_size = image_size or 224
        super().__init__(num_classes=num_classes, image_size=image_size, **training)
        self.stage_paths: dict[str, str] = {}

        small, largest = image_size <= SMALL, variant == "154"
        c_in = 128 if largest else 64
        self.layer0 = stem(c_in, deep=largest, small=small)
        self.pool0 = nn.Identity() if small else nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
        for i, depth in enumerate(blocks):
            layer = stage(c_in, 64 * 2**i, depth, 1 if i == 0 else 2, inner, 3 if largest and i > 0 else 1)
            self.add_module(f"layer{i + 1}", layer)
            self.stage_paths[f"stage{i + 1}"] = f"layer{i + 1}"
            c_in = 64 * 2**i * (SEBasic if inner is None else SEBottleneck).expansion
        self.dropout = nn.Dropout(0.2 if largest else 0.0)
        self.last_linear = nn.Linear(c_in, num_classes)
        self.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool0(self.layer0(x))
        for layer in self.stage_paths.values():
            x = getattr(self, layer)(x)
        return self.last_linear(self.dropout(x.mean((2, 3))))


def stem(c: int, deep: bool, small: bool) -> nn.Sequential:
    """7x7 (3x3 for small images), or, `deep`, three 3x3; each with BN and ReLU: (N, 3, H, W) -> (N, c, H/s, W/s)."""
    size, layers, c_in = (3 if deep or small else 7), OrderedDict(), 3
    for i, c_out in enumerate((64, 64, c) if deep else (c,), 1):
        stride = 2 if i == 1 and not small else 1
        layers[f"conv{i}"] = nn.Conv2d(c_in, c_out, size, stride=stride, padding=size // 2, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm2d(c_out)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        c_in = c_out
    return nn.Sequential(layers)


def stage(c_in: int, w: int, depth: int, stride: int, inner: Inner | None, shortcut_size: int) -> nn.Sequential:
    """`depth` blocks; the first one changes size and channels, so only it needs a shortcut with weights."""
    block = SEBasic if inner is None else partial(SEBottleneck, inner=inner)
    c_out = w * (SEBasic if inner is None else SEBottleneck).expansion
    project = None
    if stride > 1 or c_in != c_out:
        conv = nn.Conv2d(c_in, c_out, shortcut_size, stride=stride, padding=shortcut_size // 2, bias=False)
        project = nn.Sequential(conv, nn.BatchNorm2d(c_out))
    return nn.Sequential(block(c_in, w, stride, project), *(block(c_out, w, 1, None) for _ in range(depth - 1)))
