"""Encoder, bottleneck and decoder of a U-Net.

Paper:    U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox; MICCAI 2015)
          https://arxiv.org/abs/1505.04597, figure 1 and section 3
"""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.frame.segmenter import Segmenter, needs_multiple

SHRINKS = 16  # the factor of four poolings
ENCODERS, DECODERS = ("encoder1", "encoder2", "encoder3", "encoder4"), ("decoder4", "decoder3", "decoder2", "decoder1")
LEVELS = (*ENCODERS, "bottleneck", *DECODERS)  # in the order in which they run


@dataclass(frozen=True)
class Row:
    """Channels of figure 1."""

    levels: tuple[int, int, int, int]  # of the four levels, from the top
    bottleneck: int


# names are the channels of the first level: 64 is the paper's, fewer are ours
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
    """Up-convolution, skip connection, two 3x3 convolutions.

    Shapes: x (N, 2C, H/2, W/2), skip (N, C, H, W) -> (N, C, H, W).
    """

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


class UNetLevels(Model, Segmenter):
    """The layers of a U-Net; a model adds its `forward`. Stages are the levels."""

    variants = VARIANTS
    default_size = 512
    stage_paths = {level: level for level in LEVELS}

    def __init__(
        self,
        variant: str | int = "64",
        num_classes: int = 2,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.check_sides((self.image_size, self.image_size))
        row = VARIANTS[self.variant]
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
        self.head = nn.Conv2d(w1, num_classes, kernel_size=1)

    def finish_construction(self) -> None:
        """Draw the weights of all layers, those of a subclass too; then load what is given."""
        self.apply(init_weights)
        super().finish_construction()

    def check_sides(self, sides: tuple[int, ...]) -> None:
        """Raise ValueError for images whose height or width 16 does not divide."""
        needs_multiple(sides, SHRINKS, type(self).__name__)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Images (N, 3, H, W) -> maps of the four levels, (N, w, H, W) to (N, 8w, H/8, W/8), and of the bottleneck."""
        self.check_sides(x.shape[-2:])
        e1 = self.encoder1(x)
        e2 = self.encoder2(self.pool(e1))
        e3 = self.encoder3(self.pool(e2))
        e4 = self.encoder4(self.pool(e3))
        return e1, e2, e3, e4, self.bottleneck(self.pool(e4))


def init_weights(module: nn.Module) -> None:
    """Draw 3x3 convolutions, before a ReLU, from N(0, 2 / fan_in), others from N(0, 1 / fan_in); set biases to 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        up = isinstance(module, nn.ConvTranspose2d)  # each output sees one pixel: stride = kernel
        fan_in = module.in_channels * (1 if up else module.weight[0, 0].numel())
        gain = 2 if module.kernel_size == (3, 3) else 1
        nn.init.normal_(module.weight, std=(gain / fan_in) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
