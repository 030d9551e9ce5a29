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
          adaptively; its trained weights expect images normalised with mean 0.5 and std 0.5 (its `transform_input`).
          The heads of "LRN" pool 5x5 with stride 3, as the paper's, at 224 px; at other sizes they average to 4 x 4.
          For up to 64 px conv 1 is 3x3 of stride 1 and there is no first pool: ours.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.conv_bn import ConvBNReLU
from zoo.layers.local_response_norm import LocalResponseNorm


class Block(NamedTuple):
    """Channels of a block's convolutions, a row of table 1."""

    one: int  # 1x1
    three_in: int  # the 1x1 before the 3x3
    three: int  # 3x3
    five_in: int  # the 1x1 before the 5x5
    five: int  # 5x5
    proj: int  # the 1x1 after the pool

    @property
    def channels(self) -> int:
        """Of the block's output."""
        return self.one + self.three + self.five + self.proj


BLOCKS = {
    "3a": Block(64, 96, 128, 16, 32, 32),
    "3b": Block(128, 128, 192, 32, 96, 64),
    "4a": Block(192, 96, 208, 16, 48, 64),
    "4b": Block(160, 112, 224, 24, 64, 64),
    "4c": Block(128, 128, 256, 24, 64, 64),
    "4d": Block(112, 144, 288, 32, 64, 64),
    "4e": Block(256, 160, 320, 32, 128, 128),
    "5a": Block(256, 160, 320, 32, 128, 128),
    "5b": Block(384, 192, 384, 48, 128, 128),
}


class Row(NamedTuple):
    """What the paper's network ("LRN") and torchvision's ("BN") have apart."""

    batch_norm: bool
    large: int  # side of the kernel that the paper calls 5x5
    last_pool: int  # side of the last pool
    dropout: float  # before the classes


VARIANTS = {
    "LRN": Row(False, 5, 3, 0.4),
    "BN": Row(True, 3, 2, 0.2),
}


class Inception(nn.Module):
    """Four branches side by side. Shapes: (N, C_in, H, W) -> (N, one + three + five + proj, H, W)."""

    def __init__(self, c_in: int, block: Block, batch_norm: bool, large: int):
        super().__init__()
        unit = partial(ConvBNReLU, batch_norm=batch_norm)
        self.branch1 = unit(c_in, block.one, 1)
        self.branch2 = nn.Sequential(unit(c_in, block.three_in, 1), unit(block.three_in, block.three, 3))
        self.branch3 = nn.Sequential(unit(c_in, block.five_in, 1), unit(block.five_in, block.five, large))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), unit(c_in, block.proj, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryHead(nn.Module):
    """A classifier on maps from the middle of the network. Shapes: (N, C, H, W) -> (N, K)."""

    def __init__(self, c_in: int, num_classes: int, batch_norm: bool, pool: nn.Module):
        super().__init__()
        self.pool = pool
        self.conv = ConvBNReLU(c_in, 128, 1, batch_norm=batch_norm)
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
    inception3a: Inception
    inception3b: Inception
    inception4a: Inception
    inception4b: Inception
    inception4c: Inception
    inception4d: Inception
    inception4e: Inception
    inception5a: Inception
    inception5b: Inception

    def __init__(
        self,
        variant: str = "LRN",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        variant = validate_choice(variant, VARIANTS, "GoogLeNet")
        row = VARIANTS[variant]
        image_size = image_size or 224
        super().__init__(num_classes=num_classes, image_size=image_size, **training)
        self.add_stem(row, small=image_size <= SMALL)
        c_in = 192
        for name, block in BLOCKS.items():
            self.add_module(f"inception{name}", Inception(c_in, block, row.batch_norm, row.large))
            c_in = block.channels
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(row.last_pool, stride=2, ceil_mode=True)
        ends = ("conv1", "conv3", "inception3b", "inception4e", "inception5b")
        self.stage_paths = {f"stage{i}": end for i, end in enumerate(ends, 1)}

        as_printed = not row.batch_norm and image_size == 224
        pool = nn.AvgPool2d(5, stride=3) if as_printed else nn.AdaptiveAvgPool2d(4)
        self.aux1 = AuxiliaryHead(512, num_classes, row.batch_norm, pool)
        self.aux2 = AuxiliaryHead(528, num_classes, row.batch_norm, pool)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(row.dropout)
        self.fc = nn.Linear(c_in, num_classes)
        self.apply(normal_weights if row.batch_norm else init_caffe)
        if weights is not None:
            self.load_weights(weights)

    def add_stem(self, row: Row, small: bool) -> None:
        """Create the layers before the blocks: (N, 3, H, W) -> (N, 192, H/8, W/8), for small images H/2."""
        unit = partial(ConvBNReLU, batch_norm=row.batch_norm)
        self.conv1 = unit(3, 64, 3) if small else unit(3, 64, 7, stride=2)
        self.maxpool1 = nn.Identity() if small else nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm1 = nn.Identity() if row.batch_norm else local_norm()
        self.conv2 = unit(64, 64, 1)
        self.conv3 = unit(64, 192, 3)
        self.norm2 = nn.Identity() if row.batch_norm else local_norm()
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, dict[str, list[tuple[float, Tensor]]]]:
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


def local_norm() -> LocalResponseNorm:
    """Return the norm with Caffe's constants."""
    return LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=1.0)


def normal_weights(module: nn.Module) -> None:
    """Draw weights from N(0, 0.01^2) and leave biases, as torchvision."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.01)


def init_caffe(module: nn.Module) -> None:
    """Draw weights from U(-a, a), a^2 = 3 / fan-in (Caffe's "Xavier"); set biases to 0.2, in the last layers to 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
        nn.init.constant_(module.bias, 0.2)
    if isinstance(module, AuxiliaryHead):
        nn.init.zeros_(module.fc2.bias)
    if isinstance(module, GoogLeNet):
        nn.init.zeros_(module.fc.bias)
