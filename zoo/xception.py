"""Xception: Inception's limit, in which each channel is a branch of its own: separable convolutions.

Paper:    Xception: Deep Learning with Depthwise Separable Convolutions (Chollet; CVPR 2017)
          https://arxiv.org/abs/1610.02357, figure 5
Code:     keys and function of timm 1.0 `legacy_xception`
Block:    y = S(x) + R(x);  R: (ReLU, separable 3x3, BN) two or three times [max pool 3x3, stride 2];  S: the identity,
          or a 1x1 of stride 2 and BN;  separable: a 3x3 for each channel, then a 1x1 over channels, nothing in between
Shapes:   (N, 3, 299, 299) -> 64 x 147 -> 128 x 74 -> 256 x 37 -> 728 x 19 (8 middle blocks) -> 1024 x 10 -> 1536 ->
          2048 x 10 -mean-> (N, K)
Defaults: training arguments of `Classifier`; dropout 0.5 before the classes (section 4.3); He initialisation, fan-out,
          as timm
Differs:  The first two convolutions are not padded (timm, Keras), and pools are padded by 1 on each side (timm). The
          paper's form for JFT, with hidden layers before the classes, is left out. For images of up to 64 px the first
          convolution and the first block have stride 1, and the first two convolutions are padded: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_out
from zoo.layers.layout import GlobalAvgPool


@dataclass(frozen=True)
class Row:
    """Channels of the separable convolutions of figure 5."""

    entry: tuple[int, int, int]  # of both in each block of the entry flow; those of the middle flow have the last
    exit: tuple[int, int, int]  # of the last in the exit flow's block, and of the two that follow it


VARIANTS = {"ImageNet": Row((128, 256, 728), (1024, 1536, 2048))}


class SeparableConv(nn.Module):
    """A 3x3 for each channel, then a 1x1 over the channels. Shapes: (N, C_in, H, W) -> (N, C_out, H, W)."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_in, kernel_size=3, padding=1, groups=c_in, bias=False)
        self.pointwise = nn.Conv2d(c_in, c_out, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.conv1(x))


class Block(nn.Module):
    """Separable convolutions and a shortcut. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s).

    Args:
        c_in: C_in.
        widths: channels of the separable convolutions; C_out is the last.
        stride: s.
        relu_first: begin with a ReLU.
    """

    def __init__(self, c_in: int, widths: Sequence[int], stride: int = 1, relu_first: bool = True):
        super().__init__()
        layers: list[nn.Module] = []
        for c, c_out in zip((c_in, *widths), widths, strict=False):
            # the first ReLU is not in place: the shortcut needs the block's input
            layers += [nn.ReLU(inplace=bool(layers)), SeparableConv(c, c_out), nn.BatchNorm2d(c_out)]
        pool = [nn.MaxPool2d(3, stride=2, padding=1)] if stride == 2 else []
        self.rep = nn.Sequential(*layers[0 if relu_first else 1 :], *pool)
        same, c_out = stride == 1 and c_in == widths[-1], widths[-1]
        self.skip = nn.Identity() if same else nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False)
        self.skipbn = nn.Identity() if same else nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.rep(x) + self.skipbn(self.skip(x))


class Xception(Model):
    """`Xception()` for ImageNet at 299 px, `Xception(num_classes=10, image_size=32)` for CIFAR."""

    variants = VARIANTS
    stage_paths = ("act2", "block1", "block2", "block11", "act4")
    block_path = "block4"
    default_size = 299
    timm_names = {"ImageNet": "legacy_xception"}

    def __init__(
        self,
        variant: str | int = "ImageNet",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        stride, padding = (1, 1) if self.small else (2, 0)
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, stride=stride, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, padding=padding, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.act2 = nn.ReLU(inplace=True)
        c1, c2, c = row.entry
        c12, c13, c14 = row.exit
        self.block1 = Block(64, (c1, c1), stride, relu_first=False)
        self.block2 = Block(c1, (c2, c2), stride=2)
        self.block3 = Block(c2, (c, c), stride=2)
        middle = partial(Block, c, (c, c, c))
        self.block4, self.block5, self.block6, self.block7 = middle(), middle(), middle(), middle()
        self.block8, self.block9, self.block10, self.block11 = middle(), middle(), middle(), middle()
        self.block12 = Block(c, (c, c12), stride=2)
        self.conv3 = SeparableConv(c12, c13)
        self.bn3 = nn.BatchNorm2d(c13)
        self.act3 = nn.ReLU(inplace=True)
        self.conv4 = SeparableConv(c13, c14)
        self.bn4 = nn.BatchNorm2d(c14)
        self.act4 = nn.ReLU(inplace=True)
        self.global_pool = GlobalAvgPool()
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(c14, num_classes)
        self.apply(he_fan_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(x)))
        x = self.block3(self.block2(self.block1(x)))
        x = self.block7(self.block6(self.block5(self.block4(x))))
        x = self.block11(self.block10(self.block9(self.block8(x))))
        x = self.block12(x)
        x = self.act3(self.bn3(self.conv3(x)))
        x = self.act4(self.bn4(self.conv4(x)))
        return self.fc(self.dropout(self.global_pool(x).flatten(1)))
