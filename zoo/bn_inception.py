"""BN-Inception: GoogLeNet with batch normalisation, two 3x3 for each 5x5, and blocks that shrink the maps themselves.

Paper:    Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift (Ioffe, Szegedy;
          ICML 2015) https://arxiv.org/abs/1502.03167, figure 5
Code:     the released Caffe graph, as ported in https://github.com/Cadene/pretrained-models.pytorch (`bninception`),
          whose files load through `aliases`; the same table as the authors' SE-BN-Inception (hujie-frank/SENet)
Block:    [1x1 | 1x1, 3x3 | 1x1, 3x3, 3x3 | pool 3x3, 1x1], concatenated along the channels; BN and ReLU follow each
          convolution; 3c and 4e halve the maps: [1x1, 3x3 | 1x1, 3x3, 3x3 | pool 3x3], each last layer of stride 2
Shapes:   (N, 3, H, W) -> 64 x H/2 -> 192 x H/4 -> 320 x H/8 -> 608 x H/16 -> 1024 x H/32 -mean-> (N, K)
Defaults: training arguments of `Classifier`; no dropout (section 4.2.1); He initialisation, fan-out, ours
Differs:  The table is that of the released graph. It has 128 for the pool projections of 4c and 4d, which thus have
          608 channels; the paper prints 96. As in the graph, convolutions have a bias besides the batch norm, and there
          are no auxiliary heads. Running statistics have torch's momentum of 0.1, which is Caffe's 0.9: the port
          misreads it. Keys are our own, after GoogLeNet's. For images of up to 64 px conv 1 is 3x3 of stride 1 and
          there is no first pool: ours. The paper's SGD has momentum and no rate for 256 images: Nesterov's is taken.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_out
from zoo.layers.layout import GlobalAvgPool


@dataclass(frozen=True)
class Block:
    """A block of figure 5. Without a pool projection it halves the maps."""

    one: int  # channels of the 1x1; 0: none
    three_in: int  # of the 1x1 before the 3x3
    three: int  # of the 3x3
    double_in: int  # of the 1x1 before the two 3x3
    double: int  # of each of the two 3x3
    pool: str  # "avg" or "max"
    proj: int  # of the 1x1 after the pool; 0: none


BLOCKS = {
    "3a": Block(64, 64, 64, 64, 96, "avg", 32),
    "3b": Block(64, 64, 96, 64, 96, "avg", 64),
    "3c": Block(0, 128, 160, 64, 96, "max", 0),
    "4a": Block(224, 64, 96, 96, 128, "avg", 128),
    "4b": Block(192, 96, 128, 96, 128, "avg", 128),
    "4c": Block(160, 128, 160, 128, 160, "avg", 128),
    "4d": Block(96, 128, 192, 160, 192, "avg", 128),
    "4e": Block(0, 128, 192, 192, 256, "max", 0),
    "5a": Block(352, 192, 320, 160, 224, "avg", 128),
    "5b": Block(352, 192, 320, 192, 224, "max", 128),
}


@dataclass(frozen=True)
class Row:
    """A network of the paper."""

    blocks: Mapping[str, Block]  # by their names


VARIANTS = {"BN": Row(BLOCKS)}

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


def conv_bn_relu(c_in: int, c_out: int, size: int, stride: int = 1) -> nn.Sequential:
    """Return convolution with bias, batch norm, ReLU. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(c_out), relu=nn.ReLU(inplace=True)))


class Inception(nn.Module):
    """Three or four branches. Shapes: (N, C_in, H, W) -> (N, sum of the branches, H/s, W/s)."""

    def __init__(self, c_in: int, block: Block):
        super().__init__()
        stride = 1 if block.proj else 2
        self.one = conv_bn_relu(c_in, block.one, 1) if block.one else None
        self.three = nn.Sequential(
            conv_bn_relu(c_in, block.three_in, 1),
            conv_bn_relu(block.three_in, block.three, 3, stride),
        )
        self.double3 = nn.Sequential(
            conv_bn_relu(c_in, block.double_in, 1),
            conv_bn_relu(block.double_in, block.double, 3),
            conv_bn_relu(block.double, block.double, 3, stride),
        )
        # as in Caffe, a pool of stride 2 rounds up and does not pad
        kind, padding = nn.AvgPool2d if block.pool == "avg" else nn.MaxPool2d, stride % 2
        self.pool = nn.Sequential(kind(3, stride, padding=padding, ceil_mode=True))
        if block.proj:
            self.pool.append(conv_bn_relu(c_in, block.proj, 1))

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.three(x), self.double3(x), self.pool(x)]
        if self.one is not None:
            branches.insert(0, self.one(x))
        return torch.cat(branches, 1)


class BNInception(Model):
    """`BNInception()` for ImageNet, `BNInception(num_classes=10, image_size=32)` for CIFAR.

    Raises:
        ValueError: an image size that leaves odd maps to the blocks that halve them: it must be a multiple of 32, of 8
            at up to 64 px.
    """

    variants = VARIANTS
    stage_paths = ("conv1", "conv3", "inception3b", "inception4d", "inception5b")
    block_path = "inception3a"
    aliases = (
        {f"{theirs}.": f"{ours}.conv." for ours, theirs in NAMES.items()}
        | {f"{theirs}_bn.": f"{ours}.bn." for ours, theirs in NAMES.items()}
        | {"last_linear.": "fc."}
    )

    def __init__(
        self,
        variant: str | int = "BN",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        step = 8 if self.small else 32
        if self.image_size % step:
            raise ValueError(
                f"BNInception halves its maps: image_size must be a multiple of {step}, got {self.image_size}"
            )
        blocks = VARIANTS[self.variant].blocks
        self.conv1 = conv_bn_relu(3, 64, 3) if self.small else conv_bn_relu(3, 64, 7, stride=2)
        self.pool1 = nn.Identity() if self.small else nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = conv_bn_relu(64, 64, 1)
        self.conv3 = conv_bn_relu(64, 192, 3)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, blocks["3a"])
        self.inception3b = Inception(256, blocks["3b"])
        self.inception3c = Inception(320, blocks["3c"])
        self.inception4a = Inception(576, blocks["4a"])
        self.inception4b = Inception(576, blocks["4b"])
        self.inception4c = Inception(576, blocks["4c"])
        self.inception4d = Inception(608, blocks["4d"])
        self.inception4e = Inception(608, blocks["4e"])
        self.inception5a = Inception(1056, blocks["5a"])
        self.inception5b = Inception(1024, blocks["5b"])
        self.avgpool = GlobalAvgPool()
        self.fc = nn.Linear(1024, num_classes)
        self.apply(he_fan_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.conv1(x))
        x = self.pool2(self.conv3(self.conv2(x)))
        x = self.inception3c(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.inception4e(self.inception4d(x))
        x = self.inception5b(self.inception5a(x))
        return self.fc(self.avgpool(x).flatten(1))
