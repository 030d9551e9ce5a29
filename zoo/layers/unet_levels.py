"""Encoder, bottleneck and decoder of a U-Net.

Paper:    U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox; MICCAI 2015)
          https://arxiv.org/abs/1505.04597, figure 1 and section 3
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.frame.segmenter import Segmenter, needs_multiple

SHRINKS = 16  # the factor of four poolings


class Row(NamedTuple):
    """Channels of figure 1."""

    levels: tuple[int, int, int, int]  # of the four levels, from the top
    bottleneck: int


# by the channels of the first level: 64 is the paper's, fewer are ours
VARIANTS = {str(w): Row((w, 2 * w, 4 * w, 8 * w), 16 * w) for w in (64, 32, 16, 8)}


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with a ReLU. Shapes: (N, C_in, H, W) -> (N, C, H, W)."""

    def __init__(self, c_in: int, c: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c, kernel_size=3, padding=1)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c, c, kernel_size=3, padding=1)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu2(self.conv2(self.relu1(self.conv1(x))))


class Decoder(nn.Module):
    """A level on the way up. Shapes: x (N, 2C, H/2, W/2), skip (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, c: int):
        super().__init__()
        self.conv1 = nn.Conv2d(2 * c, c, kernel_size=3, padding=1)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c, c, kernel_size=3, padding=1)
        self.relu2 = nn.ReLU(inplace=True)
        self.up = nn.ConvTranspose2d(2 * c, c, kernel_size=2, stride=2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = torch.cat([skip, self.up(x)], 1)
        return self.relu2(self.conv2(self.relu1(self.conv1(x))))


class UNetLevels(Segmenter):
    """The layers of a U-Net; a model adds its `forward`. Stages are the levels, in the order in which they run."""

    def add_levels(self, row: Row) -> None:
        """Create pooling, encoders, bottleneck, decoders and head."""
        w1, w2, w3, w4 = row.levels
        self.pool = nn.MaxPool2d(2)
        self.encoder1 = DoubleConv(3, w1)
        self.encoder2 = DoubleConv(w1, w2)
        self.encoder3 = DoubleConv(w2, w3)
        self.encoder4 = DoubleConv(w3, w4)
        self.bottleneck = DoubleConv(w4, row.bottleneck)
        self.decoder4 = Decoder(w4)
        self.decoder3 = Decoder(w3)
        self.decoder2 = Decoder(w2)
        self.decoder1 = Decoder(w1)
        self.head = nn.Conv2d(w1, self.num_classes, kernel_size=1)
        up, down = ("decoder4", "decoder3", "decoder2", "decoder1"), ("encoder1", "encoder2", "encoder3", "encoder4")
        self.stage_paths = {name: name for name in (*down, "bottleneck", *up)}


def check_sides(height: int, width: int, model: str) -> None:
    """Refuse images whose sides 16 does not divide, with ValueError."""
    needs_multiple((height, width), SHRINKS, model)


def init_weights(module: nn.Module) -> None:
    """Draw 3x3 convolutions, which a ReLU follows, from N(0, 2 / fan_in), others from N(0, 1 / fan_in); zero biases."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        up = isinstance(module, nn.ConvTranspose2d)  # each of its outputs sees one pixel, as its stride is its size
        fan_in = module.in_channels * (1 if up else module.weight[0, 0].numel())
        gain = 2 if module.kernel_size == (3, 3) else 1
        nn.init.normal_(module.weight, std=(gain / fan_in) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
