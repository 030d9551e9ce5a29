"""BN-Inception: GoogLeNet with batch normalisation, two 3x3 for each 5x5, and blocks that shrink the maps themselves.

Paper:    Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift (Ioffe, Szegedy;
          ICML 2015) https://arxiv.org/abs/1502.03167, figure 5
Code:     the released Caffe graph, as ported in https://github.com/Cadene/pretrained-models.pytorch (`bninception`),
          whose files load through `aliases`; the same table as the authors' SE-BN-Inception (hujie-frank/SENet)
Block:    [1x1 | 1x1, 3x3 | 1x1, 3x3, 3x3 | pool 3x3, 1x1] side by side in the channels, each convolution followed by BN
          and ReLU; 3c and 4e have stride 2 in their last 3x3 and in their pool, which passes its input on, and no 1x1
Shapes:   (N, 3, H, W) -> 64 x H/2 -> 192 x H/4 -> 320 x H/8 -> 608 x H/16 -> 1024 x H/32 -mean-> (N, K)
Defaults: training arguments of `Classifier`; no dropout (section 4.2.1); He initialisation, fan-out, ours
Differs:  The table is the released graph's: the paper prints 96 for the pool projections of 4c and 4d, the graph has
          128, so that 4c and 4d give 608 channels. As in the graph, convolutions have a bias besides the batch norm and
          there are no auxiliary heads. The port's momentum of 0.9 for the running statistics misreads Caffe's 0.9; it
          is torch's 0.1 here. Keys are our own, after GoogLeNet's. For up to 64 px conv 1 is 3x3 of stride 1 and there
          is no first pool: ours.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.init import he_fan_out


class Row(NamedTuple):
    """A block of figure 5. Without a pool projection the block has stride 2."""

    one: int  # channels of the 1x1; 0: none
    three_in: int  # of the 1x1 before the 3x3
    three: int  # of the 3x3
    double_in: int  # of the 1x1 before the two 3x3
    double: int  # of each of the two 3x3
    pool: str  # "avg" or "max"
    proj: int  # of the 1x1 after the pool; 0: none


BLOCKS = {
    "3a": Row(64, 64, 64, 64, 96, "avg", 32),
    "3b": Row(64, 64, 96, 64, 96, "avg", 64),
    "3c": Row(0, 128, 160, 64, 96, "max", 0),
    "4a": Row(224, 64, 96, 96, 128, "avg", 128),
    "4b": Row(192, 96, 128, 96, 128, "avg", 128),
    "4c": Row(160, 128, 160, 128, 160, "avg", 128),
    "4d": Row(96, 128, 192, 160, 192, "avg", 128),
    "4e": Row(0, 128, 192, 192, 256, "max", 0),
    "5a": Row(352, 192, 320, 160, 224, "avg", 128),
    "5b": Row(352, 192, 320, 192, 224, "max", 128),
}
VARIANTS = {"BN": BLOCKS}  # the paper has one network

CAFFE = {
    "one": "1x1",
    "three.0": "3x3_reduce",
    "three.1": "3x3",
    "double3.0": "double_3x3_reduce",
    "double3.1": "double_3x3_1",
    "double3.2": "double_3x3_2",
    "pool.1": "pool_proj",
}
STEM = {"conv1": "conv1_7x7_s2", "conv2": "conv2_3x3_reduce", "conv3": "conv2_3x3"}
NAMES = STEM | {f"inception{b}.{ours}": f"inception_{b}_{theirs}" for b in BLOCKS for ours, theirs in CAFFE.items()}


def unit(c_in: int, c_out: int, size: int, stride: int = 1) -> nn.Sequential:
    """Return convolution with bias, batch norm, ReLU. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(c_out), relu=nn.ReLU(inplace=True)))


class Mixed(nn.Module):
    """Branches side by side. Shapes: (N, C_in, H, W) -> (N, sum of the branches, H/s, W/s)."""

    def __init__(self, c_in: int, row: Row):
        super().__init__()
        stride = 1 if row.proj else 2
        self.one = unit(c_in, row.one, 1) if row.one else None
        self.three = nn.Sequential(unit(c_in, row.three_in, 1), unit(row.three_in, row.three, 3, stride))
        self.double3 = nn.Sequential(
            unit(c_in, row.double_in, 1),
            unit(row.double_in, row.double, 3),
            unit(row.double, row.double, 3, stride),
        )
        # where the pool shrinks maps, it rounds up and does not pad, as in Caffe
        kind, padding = nn.AvgPool2d if row.pool == "avg" else nn.MaxPool2d, stride % 2
        self.pool = nn.Sequential(kind(3, stride, padding=padding, ceil_mode=True))
        if row.proj:
            self.pool.append(unit(c_in, row.proj, 1))
        self.channels = row.one + row.three + row.double + (row.proj or c_in)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.three(x), self.double3(x), self.pool(x)]
        if self.one is not None:
            branches.insert(0, self.one(x))
        return torch.cat(branches, 1)


class BNInception(Classifier):
    """`BNInception()` for ImageNet, `BNInception(num_classes=10, image_size=32)` for CIFAR.

    Args:
        variant: "BN", the only one.
        num_classes: K.
        image_size: side of the images in pixels, a multiple of 32; up to 64, a multiple of 8, it takes the small-image
            stem. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for another variant or an image size that leaves odd maps to the blocks that halve them.
    """

    aliases = (
        {f"{theirs}.": f"{ours}.conv." for ours, theirs in NAMES.items()}
        | {f"{theirs}_bn.": f"{ours}.bn." for ours, theirs in NAMES.items()}
        | {"last_linear.": "fc."}
    )

    inception3a: Mixed
    inception3b: Mixed
    inception3c: Mixed
    inception4a: Mixed
    inception4b: Mixed
    inception4c: Mixed
    inception4d: Mixed
    inception4e: Mixed
    inception5a: Mixed
    inception5b: Mixed

    def __init__(
        self,
        variant: str = "BN",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        blocks = VARIANTS[validate_choice(variant, VARIANTS, "BNInception")]
        image_size = image_size or 224
        small = image_size <= SMALL
        step = 8 if small else 32
        if image_size % step:
            raise ValueError(f"BNInception halves its maps: image_size must be a multiple of {step}, got {image_size}")
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        self.conv1 = unit(3, 64, 3) if small else unit(3, 64, 7, stride=2)
        self.pool1 = nn.Identity() if small else nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = unit(64, 64, 1)
        self.conv3 = unit(64, 192, 3)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        c_in = 192
        for name, row in blocks.items():
            block = Mixed(c_in, row)
            self.add_module(f"inception{name}", block)
            c_in = block.channels
        ends = ("conv1", "conv3", "inception3b", "inception4d", "inception5b")
        self.stage_paths = {f"stage{i}": end for i, end in enumerate(ends, 1)}
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c_in, num_classes)
        self.apply(he_fan_out)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.conv1(x))
        x = self.pool2(self.conv3(self.conv2(x)))
        x = self.inception3c(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.inception4e(self.inception4d(x))
        x = self.inception5b(self.inception5a(x))
        return self.fc(self.avgpool(x).flatten(1))
