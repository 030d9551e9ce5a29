"""GoogLeNet: blocks that look at three scales at once and concatenate their maps.

Paper:    Going Deeper with Convolutions (Szegedy et al.; CVPR 2015) https://arxiv.org/abs/1409.4842, table 1 and
          section 5
Code:     "BN": keys and function of torchvision 0.29 `googlenet`; "LRN": Caffe's `bvlc_googlenet`, with torchvision's
          keys
Block:    [1x1 | 1x1, 3x3 | 1x1, 5x5 | max pool 3x3, 1x1], concatenated along the channels; ReLU follows each
          convolution ("BN": batch norm and ReLU)
Shapes:   (N, 3, H, W) -> 64 x H/2 -> 192 x H/4 -> 480 x H/8 -> 832 x H/16 -> 1024 x H/32 -mean-> (N, K); in training
          also two auxiliary heads, on blocks 4a and 4d
Defaults: training arguments of `Classifier`; auxiliary heads weigh 0.3 each and have dropout 0.7 (section 5). "LRN":
          dropout 0.4 (table 1); initialisation and constants of the norm (n 5, alpha 1e-4, beta 0.75, k 1) are Caffe's.
          "BN": dropout 0.2, epsilon 1e-3, weights N(0, 0.01^2), as torchvision
Differs:  "LRN" is the paper's network. "BN" is torchvision's: it has batch norm, 3x3 where the paper has 5x5 (a known
          bug, kept for the weights: pytorch/vision issue 906), a 2x2 last pool, and heads that average their maps to 4
          x 4; its trained weights expect images normalised with mean 0.5 and std 0.5 (its `transform_input`). The heads
          of "LRN" pool 5x5 with stride 3, as in the paper, at 224 px; at other sizes they too average to 4 x 4. For
          images of up to 64 px conv 1 is 3x3 of stride 1 and there is no first pool: ours. The paper's asynchronous SGD
          has momentum .9 and no first rate: Nesterov's is taken.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.conv_bn import ConvBNReLU
from zoo.layers.layout import GlobalAvgPool
from zoo.layers.local_response_norm import LocalResponseNorm


@dataclass(frozen=True)
class Block:
    """Channels of a block's convolutions, a row of table 1."""

    one: int  # 1x1
    three_in: int  # the 1x1 before the 3x3
    three: int  # 3x3
    five_in: int  # the 1x1 before the 5x5
    five: int  # 5x5
    proj: int  # the 1x1 after the pool


@dataclass(frozen=True)
class Row:
    """What differs between the paper's network ("LRN") and torchvision's ("BN")."""

    batch_norm: bool  # after each convolution; else two local response norms in the stem
    large: int  # side of the kernel that the paper calls 5x5
    last_pool: int  # side of the last pool
    dropout: float  # before the classes


VARIANTS = {
    "LRN": Row(False, 5, 3, 0.4),
    "BN": Row(True, 3, 2, 0.2),
}


class Inception(nn.Module):
    """Four branches. Shapes: (N, C_in, H, W) -> (N, one + three + five + proj, H, W)."""

    def __init__(self, c_in: int, block: Block, batch_norm: bool, large: int):
        super().__init__()
        conv = partial(ConvBNReLU, batch_norm=batch_norm)
        self.branch1 = conv(c_in, block.one, 1)
        self.branch2 = nn.Sequential(conv(c_in, block.three_in, 1), conv(block.three_in, block.three, 3))
        self.branch3 = nn.Sequential(conv(c_in, block.five_in, 1), conv(block.five_in, block.five, large))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(c_in, block.proj, 1))

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


class GoogLeNet(Model):
    """`GoogLeNet("LRN")` as in the paper, `GoogLeNet("BN")` as in torchvision.

    In training the network returns the logits and `{"aux": ...}`, those of its two auxiliary heads.
    """

    variants = VARIANTS
    stage_paths = ("conv1", "conv3", "inception3b", "inception4e", "inception5b")
    aux_paths = ("aux1", "aux2")
    block_path = "inception3a"
    torchvision_names = {"BN": "googlenet"}

    def __init__(
        self,
        variant: str | int = "LRN",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        conv = partial(ConvBNReLU, batch_norm=row.batch_norm)
        block = partial(Inception, batch_norm=row.batch_norm, large=row.large)
        self.conv1 = conv(3, 64, 3) if self.small else conv(3, 64, 7, stride=2)
        self.maxpool1 = nn.Identity() if self.small else nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm1 = nn.Identity() if row.batch_norm else local_norm()
        self.conv2 = conv(64, 64, 1)
        self.conv3 = conv(64, 192, 3)
        self.norm2 = nn.Identity() if row.batch_norm else local_norm()
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = block(192, Block(64, 96, 128, 16, 32, 32))
        self.inception3b = block(256, Block(128, 128, 192, 32, 96, 64))
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = block(480, Block(192, 96, 208, 16, 48, 64))
        self.inception4b = block(512, Block(160, 112, 224, 24, 64, 64))
        self.inception4c = block(512, Block(128, 128, 256, 24, 64, 64))
        self.inception4d = block(512, Block(112, 144, 288, 32, 64, 64))
        self.inception4e = block(528, Block(256, 160, 320, 32, 128, 128))
        self.maxpool4 = nn.MaxPool2d(row.last_pool, stride=2, ceil_mode=True)
        self.inception5a = block(832, Block(256, 160, 320, 32, 128, 128))
        self.inception5b = block(832, Block(384, 192, 384, 48, 128, 128))
        original = not row.batch_norm and self.image_size == 224
        pool = nn.AvgPool2d(5, stride=3) if original else nn.AdaptiveAvgPool2d(4)
        self.aux1 = AuxiliaryHead(512, num_classes, row.batch_norm, pool)
        self.aux2 = AuxiliaryHead(528, num_classes, row.batch_norm, pool)
        self.avgpool = GlobalAvgPool()
        self.dropout = nn.Dropout(row.dropout)
        self.fc = nn.Linear(1024, num_classes)
        self.apply(normal_weights if row.batch_norm else init_caffe)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, dict[str, Any]]:
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
    """Draw weights from N(0, 0.01^2) and leave biases, as in torchvision."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.01)


def init_caffe(module: nn.Module) -> None:
    """Draw weights from U(-a, a), a^2 = 3 / fan-in (Caffe's "Xavier"); set biases to 0.2, in the last layers to 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
        nn.init.constant_(module.get_parameter("bias"), 0.2)
    if isinstance(module, AuxiliaryHead):
        nn.init.zeros_(module.fc2.bias)
    if isinstance(module, GoogLeNet):
        nn.init.zeros_(module.fc.bias)
