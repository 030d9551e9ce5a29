"""UNet: an encoder that shrinks, a decoder that grows back, and the encoder's maps handed across at each level.

Paper:    U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox; MICCAI 2015)
          https://arxiv.org/abs/1505.04597, figure 1 and section 3
Code:     none read (the authors' is Caffe, not on GitHub); keys are ours
Block:    e_i = F(pool e_{i-1}),   d_i = F([e_i, up d_{i+1}]),   F = ReLU conv3x3 ReLU conv3x3
          pool: the maximum of 2x2;  up: a transposed 2x2 convolution of stride 2 that halves the channels;  no norms
Shapes:   (N, 3, H, W) -4 levels-> (N, 16w, H/16, W/16) -4 levels-> (N, w, H, W) -1x1-> (N, K, H, W)
Defaults: w = 64, two classes; weights N(0, 2 / fan_in) (the paper's); images of 512 px (those of its first data)
Differs:  the paper's convolutions have no padding, so its output is smaller (572 px -> 388) and skips are cropped; here
          maps are padded by 0, the output is as large as the input, and 16 must divide H and W. Up-convolutions and the
          last layer, which no ReLU follows, start at 1 / fan_in: with 2 the loss starts far above ln K. Variants of
          fewer channels are ours; so is the colour: the paper's images are grey. Its drop-out at the end of the encoder
          is left to `callbacks.Dropout(0.5, where=...)`, its weights of pixels near borders are left out.
"""

import torch
from torch import Tensor, nn

from zoo.frame.checks import validate_choice
from zoo.frame.segmenter import Segmenter, needs_multiple

#           channels of the four levels and of the bottleneck: figure 1; those below 64 are ours
VARIANTS = {str(w): (w, 2 * w, 4 * w, 8 * w, 16 * w) for w in (64, 32, 16, 8)}
SHRINKS = 16  # by four poolings


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


class Decoder(DoubleConv):
    """A level on the way up. Shapes: x (N, 2C, H/2, W/2), skip (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, c: int):
        super().__init__(2 * c, c)
        self.up = nn.ConvTranspose2d(2 * c, c, kernel_size=2, stride=2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return super().forward(torch.cat([skip, self.up(x)], 1))


class UNet(Segmenter):
    """`UNet(num_classes=2)` as in the paper, `UNet("16", num_classes=4, image_size=64)` for a CPU.

    Its stages are `encoder1` to `encoder4`, `bottleneck`, `decoder4` to `decoder1`; in each, `relu1` is what lies
    between the two convolutions: `where="encoder1.relu1"`.

    Args:
        variant: channels of the first level, a key of `VARIANTS`: "64" "32" "16" "8".
        num_classes: K, background included.
        image_size: side of the images in pixels, for export and counts; any multiple of 16 is taken.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or a size that 16 does not divide.
    """

    def __init__(
        self,
        variant: str | int = "64",
        num_classes: int = 2,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        *widths, deepest = VARIANTS[validate_choice(str(variant), VARIANTS, "UNet")]
        image_size = image_size or 512
        needs_multiple((image_size, image_size), SHRINKS, "UNet")
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        self.pool = nn.MaxPool2d(2)
        add_levels(self, widths, deepest)
        self.head = nn.Conv2d(widths[0], num_classes, kernel_size=1)
        self.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        needs_multiple(x.shape[-2:], SHRINKS, "UNet")
        e1 = self.encoder1(x)
        e2 = self.encoder2(self.pool(e1))
        e3 = self.encoder3(self.pool(e2))
        e4 = self.encoder4(self.pool(e3))
        x = self.bottleneck(self.pool(e4))
        x = self.decoder4(x, e4)
        x = self.decoder3(x, e3)
        x = self.decoder2(x, e2)
        x = self.decoder1(x, e1)
        return self.head(x)


def add_levels(model: Segmenter, widths: list[int], deepest: int) -> None:
    """Encoders, bottleneck and decoders, and their names as stages, in the order in which they are run."""
    levels = range(1, len(widths) + 1)
    c_in = 3
    for i in levels:
        model.add_module(f"encoder{i}", DoubleConv(c_in, widths[i - 1]))
        c_in = widths[i - 1]
    model.bottleneck = DoubleConv(c_in, deepest)
    for i in reversed(levels):
        model.add_module(f"decoder{i}", Decoder(widths[i - 1]))
    names = [*(f"encoder{i}" for i in levels), "bottleneck", *(f"decoder{i}" for i in reversed(levels))]
    model.stage_paths = dict(zip(names, names, strict=True))


def init_weights(module: nn.Module) -> None:
    """N(0, 2 / fan_in) where a ReLU follows: the 3x3 convolutions; else N(0, 1 / fan_in). Biases start at 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        up = isinstance(module, nn.ConvTranspose2d)  # each of its outputs sees one pixel: its stride is its size
        fan_in = module.in_channels * (1 if up else module.weight[0, 0].numel())
        gain = 2 if module.kernel_size == (3, 3) else 1
        nn.init.normal_(module.weight, std=(gain / fan_in) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
