"""MobileNetV2: blocks that widen, convolve each channel and narrow again; shortcuts join the narrow ends.

Paper:    MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler, Howard, Zhu, Zhmoginov, Chen; CVPR 2018)
          https://arxiv.org/abs/1801.04381, Table 2
Code:     https://github.com/tensorflow/models, research/slim/nets/mobilenet/mobilenet_v2.py (the authors'); keys and
          function of torchvision 0.29 `mobilenet_v2`
Block:    F(x) = BN conv1x1(ReLU6 BN dwconv3x3(ReLU6 BN conv1x1(x))), widths C, tC, tC, C_out, without the first 1x1 at
          t = 1;  y = x + F(x) where the shape stays, else F(x)
Shapes:   (N, 3, H, W) -stem-> (N, 32a, H/2, W/2) -17 blocks-> (N, 320a, H/32, W/32) -1x1-> (N, max(1, a) 1280, H/32,
          W/32) -> (N, K), a the width multiplier, channels rounded to multiples of 8
Defaults: dropout .2 before the head; He initialisation, fan-out, N(0, .01) in the head (torchvision)
Differs:  padding is the same on all sides (torchvision), in the authors' code more at the right and below. 1.4 has 6.11
          million parameters, about the 6.06 that the authors' code prints; the paper says 6.9. For images of up to 64
          px the first two strides are 1, so that the last map is H/8: ours, not the paper's. `stage1` is the first of
          stride 4.
"""

from typing import NamedTuple

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.init import he_fan_out_01
from zoo.layers.round_to_8 import round_to_8

#        width multiplier: the authors' table of checkpoints
VARIANTS = {"1.4": 1.4, "1.0": 1.0, "0.75": 0.75, "0.5": 0.5, "0.35": 0.35}


class Row(NamedTuple):
    """A row of Table 2."""

    t: int  # expansion
    c: int  # channels
    n: int  # number of blocks
    s: int  # stride of the first one


LAYERS = (
    Row(1, 16, 1, 1),
    Row(6, 24, 2, 2),
    Row(6, 32, 3, 2),
    Row(6, 64, 4, 2),
    Row(6, 96, 3, 1),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)


def conv_bn(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution, batch norm, ReLU6. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Widen t times, depthwise 3x3, narrow. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, stride: int, t: int):
        super().__init__()
        wide = c_in * t
        self.conv = nn.Sequential(
            *([conv_bn(c_in, wide)] if t > 1 else []),
            conv_bn(wide, wide, kernel=3, stride=stride, groups=wide),
            nn.Conv2d(wide, c_out, kernel_size=1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(Classifier):
    """`MobileNetV2("1.0")` for ImageNet, `MobileNetV2("1.0", num_classes=10, image_size=32)` for CIFAR.

    Args:
        variant: a key of `VARIANTS`, the width multiplier: "1.4" "1.0" "0.75" "0.5" "0.35".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image form. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are).
    """

    torchvision_names = {"1.0": "mobilenet_v2"}

    def __init__(
        self,
        variant: str | float = "1.0",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        a = VARIANTS[validate_choice(str(variant), VARIANTS, "MobileNetV2")]
        image_size = image_size or 224
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        small = image_size <= SMALL
        c_in = round_to_8(32 * a)
        self.features = nn.Sequential(conv_bn(3, c_in, kernel=3, stride=1 if small else 2))
        for row, (t, c, n, s) in enumerate(LAYERS):
            c = round_to_8(c * a)
            for i in range(n):
                stride = s if i == 0 and not (small and row == 1) else 1
                self.features.append(InvertedResidual(c_in, c, stride, t))
                c_in = c
        c_last = round_to_8(1280 * max(1.0, a))
        self.features.append(conv_bn(c_in, c_last))
        # the last blocks at strides 4, 8, 16 and 32
        self.stage_paths = {f"stage{i}": f"features.{n}" for i, n in enumerate((3, 6, 13, 17), 1)}
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(c_last, num_classes))
        self.apply(he_fan_out_01)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))
