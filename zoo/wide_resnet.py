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

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.init import he_fan_in, he_fan_out
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
    """1x1 to 2w channels, 3x3, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int):
        super().__init__()
        self.conv1 = conv1(c_in, 2 * w)
        self.bn1 = nn.BatchNorm2d(2 * w)
        self.conv2 = conv3(2 * w, 2 * w, stride)
        self.bn2 = nn.BatchNorm2d(2 * w)
        self.conv3 = conv1(2 * w, 4 * w)
        self.bn3 = nn.BatchNorm2d(4 * w)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(c_in, 4 * w, stride)

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
IMAGENET = {"50-2": (3, 4, 6, 3), "101-2": (3, 4, 23, 3)}  # blocks of each stage
VARIANTS = {**CIFAR, **IMAGENET}


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
        self.cifar = variant in CIFAR
        if self.cifar:
            self.build_cifar(*CIFAR[variant], dropout)
        else:
            self.build_imagenet(IMAGENET[variant], small=image_size <= SMALL)
        if weights is not None:
            self.load_weights(weights)

    def build_cifar(self, depth: int, k: int, dropout: float) -> None:
        """Create the layers of row "depth-k"; the paper's Table 1."""
        n, widths = (depth - 4) // 6, (16 * k, 32 * k, 64 * k)
        self.conv0 = conv3(3, 16)
        self.group0 = group(16, widths[0], n, 1, dropout)
        self.group1 = group(widths[0], widths[1], n, 2, dropout)
        self.group2 = group(widths[1], widths[2], n, 2, dropout)
        self.bn = nn.BatchNorm2d(widths[2])
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(widths[2], self.num_classes)
        self.stage_paths = {"stage1": "group0", "stage2": "group1", "stage3": "group2"}
        self.apply(he_fan_in)
        nn.init.zeros_(self.fc.bias)

    def build_imagenet(self, depths: tuple[int, ...], small: bool) -> None:
        """Create the layers of ResNet-B with wide bottlenecks."""
        self.conv1 = stem(64, deep=False, stride=1 if small else 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = stem_pool(small)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(WideBottleneck, depths, 64, 64, 4)
        self.fc = nn.Linear(2048, self.num_classes)
        self.stage_paths = {f"stage{i}": f"layer{i}" for i in (1, 2, 3, 4)}
        self.apply(he_fan_out)

    def forward(self, x: Tensor) -> Tensor:
        if self.cifar:
            x = self.group2(self.group1(self.group0(self.conv0(x))))
            x = self.relu(self.bn(x))
        else:
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def group(c_in: int, w: int, n: int, stride: int, dropout: float) -> nn.Sequential:
    """Return n blocks, the first of which changes size and width: (N, C_in, H, W) -> (N, w, H/s, W/s)."""
    blocks = [WideBasic(c_in if i == 0 else w, w, stride if i == 0 else 1, dropout) for i in range(n)]
    return nn.Sequential(OrderedDict((f"block{i}", block) for i, block in enumerate(blocks)))
