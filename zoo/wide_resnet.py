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
Differs:  gammas start at 1; in both of the authors' codes they are drawn from U(0, 1). In their files the keys of
          convolutions lack ".weight". 101-2 is torchvision's, not the paper's. The small-image stem of ImageNet rows
          (3x3, stride 1, no pooling) is not in the paper.
"""

from collections import OrderedDict

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.resnet import CONV3, IMAGENET, init_weights, stage, stem


class WideBasic(nn.Module):
    """Two 3x3 convolutions, each after BN and ReLU. Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int, dropout: float):
        super().__init__()
        self.bn0 = nn.BatchNorm2d(c_in)
        self.conv0 = nn.Conv2d(c_in, w, stride=stride, **CONV3)
        self.bn1 = nn.BatchNorm2d(w)
        self.dropout = nn.Dropout(dropout)
        self.conv1 = nn.Conv2d(w, w, **CONV3)
        self.relu = nn.ReLU(inplace=True)
        self.convdim = None if c_in == w else nn.Conv2d(c_in, w, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        o = self.relu(self.bn0(x))
        y = self.relu(self.bn1(self.conv0(o)))
        return self.conv1(self.dropout(y)) + (x if self.convdim is None else self.convdim(o))


class WideBottleneck(nn.Module):
    """1x1 to 2w channels, 3x3, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    expansion = 4

    def __init__(self, c_in: int, w: int, stride: int, shortcut: nn.Module | None, tweak: str):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, 2 * w, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * w)
        self.conv2 = nn.Conv2d(2 * w, 2 * w, stride=stride, **CONV3)
        self.bn2 = nn.BatchNorm2d(2 * w)
        self.conv3 = nn.Conv2d(2 * w, 4 * w, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * w)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


#        "d-k" -> d layers, k times the width of ResNet: Table 4 of the paper; thin rows as in later papers
CIFAR = {
    f"{d}-{k}": (d, k)
    for d, widths in {16: (1, 2, 4, 8, 10), 22: (8, 10), 28: (2, 10, 12), 40: (1, 2, 4, 8, 10)}.items()
    for k in widths
}
VARIANTS = {**CIFAR, "50-2": (50, 2), "101-2": (101, 2)}  # the last two for ImageNet


class WideResNet(Classifier):
    """`WideResNet("28-10", num_classes=10, dropout=0.3)` for CIFAR, `WideResNet("50-2")` for ImageNet.

    Args:
        variant: a key of `VARIANTS`, "depth-width"; "50-2" and "101-2" are for ImageNet, the others for CIFAR.
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 224, or 32 in CIFAR rows.
        weights: see `Classifier.load_weights`; None: random.
        dropout: probability, in [0, 1), that a feature between a block's two convolutions is dropped; CIFAR rows only.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant, a CIFAR row at more than 64 px, or dropout in an ImageNet row.
    """

    torchvision_names = {"50-2": "wide_resnet50_2", "101-2": "wide_resnet101_2"}
    timm_names = torchvision_names

    def __init__(
        self,
        variant: str = "28-10",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        dropout: float = 0.0,
        **training,
    ):
        variant = validate_choice(variant, VARIANTS, "WideResNet")
        image_size = image_size or (32 if variant in CIFAR else 224)
        if variant in CIFAR and image_size > SMALL:
            raise ValueError(f"WideResNet-{variant} is for images of up to {SMALL} px, got image_size={image_size}")
        if variant not in CIFAR and dropout > 0:
            raise ValueError(f"WideResNet-{variant} has no place for dropout: it stands between 3x3 convolutions")
        super().__init__(num_classes=num_classes, image_size=image_size, **training)
        self.stage_paths: dict[str, str] = {}
        if variant in CIFAR:
            self._build_cifar(*VARIANTS[variant], dropout)
        else:
            self._build_imagenet(variant.split("-")[0], small=image_size <= SMALL)
        if weights is not None:
            self.load_weights(weights)

    def _build_cifar(self, depth: int, k: int, dropout: float) -> None:
        self.conv0 = nn.Conv2d(3, 16, **CONV3)
        self.relu = nn.ReLU(inplace=True)
        c_in = 16
        for i in range(3):
            self.add_module(f"group{i}", group(c_in, 16 * k * 2**i, (depth - 4) // 6, 1 if i == 0 else 2, dropout))
            self.stage_paths[f"stage{i + 1}"] = f"group{i}"
            c_in = 16 * k * 2**i
        self.bn = nn.BatchNorm2d(c_in)
        self.fc = nn.Linear(c_in, self.num_classes)
        self.features = ("conv0", "group0", "group1", "group2", "bn", "relu")
        self.apply(init_cifar_weights)

    def _build_imagenet(self, depth: str, small: bool) -> None:
        self.conv1 = stem(64, deep=False, stride=1 if small else 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        c_in = 64
        for i, blocks in enumerate(IMAGENET[depth][1]):
            w, stride = 64 * 2**i, 1 if i == 0 else 2
            self.add_module(f"layer{i + 1}", stage(WideBottleneck, c_in, w, blocks, stride, "B", "B"))
            self.stage_paths[f"stage{i + 1}"] = f"layer{i + 1}"
            c_in = 4 * w
        self.fc = nn.Linear(c_in, self.num_classes)
        self.features = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.features:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))


def group(c_in: int, w: int, n: int, stride: int, dropout: float) -> nn.Sequential:
    """n blocks; the first one changes size and width."""
    blocks = [WideBasic(c_in if i == 0 else w, w, stride if i == 0 else 1, dropout) for i in range(n)]
    return nn.Sequential(OrderedDict((f"block{i}", block) for i, block in enumerate(blocks)))


def init_cifar_weights(module: nn.Module) -> None:
    """N(0, 2 / (k^2 C_in)) for convolutions; batch norms start at 1 and 0, the head at torch's weights and bias 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
