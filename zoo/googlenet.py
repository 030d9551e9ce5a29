"""GoogLeNet: blocks that look at three scales at once and put their maps side by side.

Paper:    Going Deeper with Convolutions (Szegedy et al.; CVPR 2015) https://arxiv.org/abs/1409.4842, table 1 and
          section 5
Code:     "BN": keys and function of torchvision 0.29 `googlenet`; "LRN": Caffe's `bvlc_googlenet`, with torchvision's
          keys
Block:    [1x1 | 1x1, 3x3 | 1x1, 5x5 | max pool 3x3, 1x1], side by side in the channels; each convolution followed by
          ReLU ("BN": by batch norm and ReLU)
Shapes:   (N, 3, H, W) -> 64 x H/2 -> 192 x H/4 -> 480 x H/8 -> 832 x H/16 -> 1024 x H/32 -mean-> (N, K); in training
          also two auxiliary heads, on blocks 4a and 4d
Defaults: training arguments of `Classifier`; auxiliary heads count 0.3 each, with dropout 0.7 (section 5). "LRN":
          dropout 0.4 (table 1); initialisation and constants of the norm (n 5, alpha 1e-4, beta 0.75, k 1) are Caffe's.
          "BN": dropout 0.2, epsilon 1e-3, weights N(0, 0.01^2), as torchvision
Differs:  "LRN" is the paper's network. "BN" is what torchvision ships: batch norm, 3x3 where the paper has 5x5 (a known
          bug, kept for the weights: pytorch/vision issue 906), a 2x2 last pool, and heads that average to 4 x 4
          adaptively; its trained weights want images normalised with mean 0.5 and std 0.5 (its `transform_input`). The
          paper's heads pool 5x5 with stride 3, here at 224 px; at other sizes they average to 4 x 4. For up to 64 px
          conv 1 is 3x3 of stride 1 and the first pool is left out; not in the paper.
"""

import torch
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.basic import LocalResponseNorm

LRN = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0}

#        1x1, 3x3 reduce and 3x3, 5x5 reduce and 5x5, pool projection: table 1
BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
#        batch norm, side of the "5x5", side of the last pool, dropout
VARIANTS = {
    "LRN": (False, 5, 3, 0.4),
    "BN": (True, 3, 2, 0.2),
}


class Unit(nn.Module):
    """Convolution, batch norm (or a bias), ReLU. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, size: int | tuple[int, int], batch_norm: bool = True, **how):
        super().__init__()
        same = size // 2 if isinstance(size, int) else (size[0] // 2, size[1] // 2)
        self.conv = nn.Conv2d(c_in, c_out, size, **{"padding": same, "bias": not batch_norm, **how})
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3) if batch_norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches side by side. Shapes: (N, C_in, H, W) -> (N, one + three + five + proj, H, W)."""

    def __init__(self, c_in: int, widths: tuple[int, ...], batch_norm: bool, large: int):
        super().__init__()
        one, three_in, three, five_in, five, proj = widths
        self.branch1 = Unit(c_in, one, 1, batch_norm)
        self.branch2 = nn.Sequential(Unit(c_in, three_in, 1, batch_norm), Unit(three_in, three, 3, batch_norm))
        self.branch3 = nn.Sequential(Unit(c_in, five_in, 1, batch_norm), Unit(five_in, five, large, batch_norm))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), Unit(c_in, proj, 1, batch_norm))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryHead(nn.Module):
    """A classifier on maps from the middle of the network. Shapes: (N, C, H, W) -> (N, K)."""

    def __init__(self, c_in: int, num_classes: int, batch_norm: bool, pool: nn.Module):
        super().__init__()
        self.pool = pool
        self.conv = Unit(c_in, 128, 1, batch_norm)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x)).flatten(1)  # (N, 2048)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(Classifier):
    """`GoogLeNet("LRN")` as in the paper, `GoogLeNet("BN")` as in torchvision.

    Args:
        variant: a key of `VARIANTS`: "LRN" or "BN".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are).
    """

    torchvision_names = {"BN": "googlenet"}

    def __init__(
        self,
        variant: str = "LRN",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        variant = validate_choice(variant, VARIANTS, "GoogLeNet")
        batch_norm, large, last_pool, dropout = VARIANTS[variant]
        image_size = image_size or 224
        small = image_size <= SMALL
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        norm = nn.Identity if batch_norm else LocalResponseNorm
        self.conv1 = Unit(3, 64, 3, batch_norm) if small else Unit(3, 64, 7, batch_norm, stride=2)
        self.maxpool1 = nn.Identity() if small else nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm1 = norm(**LRN)
        self.conv2 = Unit(64, 64, 1, batch_norm)
        self.conv3 = Unit(64, 192, 3, batch_norm)
        self.norm2 = norm(**LRN)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        c_in = 192
        for name, widths in BLOCKS.items():
            self.add_module(f"inception{name}", Inception(c_in, widths, batch_norm, large))
            c_in = widths[0] + widths[2] + widths[4] + widths[5]
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(last_pool, stride=2, ceil_mode=True)
        ends = ("conv1", "conv3", "inception3b", "inception4e", "inception5b")
        self.stage_paths = {f"stage{i}": end for i, end in enumerate(ends, 1)}

        papers = not batch_norm and image_size == 224
        pool = nn.AvgPool2d(5, stride=3) if papers else nn.AdaptiveAvgPool2d(4)
        self.aux1 = AuxiliaryHead(512, num_classes, batch_norm, pool)
        self.aux2 = AuxiliaryHead(528, num_classes, batch_norm, pool)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(c_in, num_classes)
        self.apply(init_normal if batch_norm else init_caffe)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, dict]:
        x = self.norm1(self.maxpool1(self.conv1(x)))
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = early = self.inception4a(x)
        x = late = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if not self.training:
            return logits
        return logits, {"aux": [(0.3, self.aux1(early)), (0.3, self.aux2(late))]}


def init_normal(module: nn.Module) -> None:
    """Weights N(0, 0.01^2), as torchvision."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.01)


def init_caffe(module: nn.Module) -> None:
    """Weights U(-a, a) with a^2 = 3 / fan-in (what Caffe calls Xavier), biases 0.2, but 0 in the last layers."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
        nn.init.constant_(module.bias, 0.2)
    if isinstance(module, AuxiliaryHead):
        nn.init.zeros_(module.fc2.bias)
    if isinstance(module, GoogLeNet):
        nn.init.zeros_(module.fc.bias)
