"""MobileNetV3: a searched MobileNetV2 with squeeze-and-excitation and hard activations, ending in a cheap head.

Paper:    Searching for MobileNetV3 (Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam; ICCV
          2019) https://arxiv.org/abs/1905.02244, Tables 1 and 2
Code:     https://github.com/tensorflow/models, research/slim/nets/mobilenet/mobilenet_v3.py (the authors'); keys and
          function of torchvision 0.29 `mobilenet_v3_*`
Block:    F(x) = BN conv1x1(SE(h BN dwconv(h BN conv1x1(x)))), h = ReLU or hardswish(x) = x ReLU6(x + 3) / 6,
          SE(y) = y ReLU6(W2 ReLU(W1 mean(y)) + 3) / 6;  y = x + F(x) where the shape stays, else F(x)
Shapes:   (N, 3, H, W) -stem-> (N, 16, H/2, W/2) -blocks-> (N, C, H/32, W/32) -1x1-> (N, 6C, H/32, W/32) -mean-> (N, 6C)
          -linear-> (N, 1280 large, 1024 small) -> (N, K)
Defaults: dropout .2 before the head, batch norm of epsilon .001 and momentum .01; He initialisation, fan-out, N(0, .01)
          in linear layers (torchvision)
Differs:  padding is the same on all sides (torchvision), in the authors' code more at the right and below. At .75 the
          widths of a block are the multiplied ones of its input, and the last 1280 or 1024 are not multiplied (timm,
          which has the paper's 4.0 and 2.0 million parameters; torchvision multiplies all). Minimalistic rows (3x3 and
          ReLU only, no SE) are the authors' code. For images of up to 64 px the first two strides are 1, so that the
          last map is H/8: ours, not the paper's. `stage1` is the first of stride 4.
"""

from typing import NamedTuple

from timm.layers.activations import HardSigmoid
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.init import he_fan_out_01
from zoo.layers.round_to_8 import round_to_8
from zoo.layers.squeeze_excite import SqueezeExcite

H, R = nn.Hardswish, nn.ReLU


class Row(NamedTuple):
    """A row of Table 1 or 2."""

    kernel: int  # side of the depthwise convolution's
    wide: int  # channels inside the block
    c: int  # channels that it returns
    se: bool  # squeeze-and-excitation
    act: type[nn.Hardswish] | type[nn.ReLU]
    stride: int


LARGE = (  # Table 1
    Row(3, 16, 16, False, R, 1),
    Row(3, 64, 24, False, R, 2),
    Row(3, 72, 24, False, R, 1),
    Row(5, 72, 40, True, R, 2),
    Row(5, 120, 40, True, R, 1),
    Row(5, 120, 40, True, R, 1),
    Row(3, 240, 80, False, H, 2),
    Row(3, 200, 80, False, H, 1),
    Row(3, 184, 80, False, H, 1),
    Row(3, 184, 80, False, H, 1),
    Row(3, 480, 112, True, H, 1),
    Row(3, 672, 112, True, H, 1),
    Row(5, 672, 160, True, H, 2),
    Row(5, 960, 160, True, H, 1),
    Row(5, 960, 160, True, H, 1),
)
SMALL_ROWS = (  # Table 2
    Row(3, 16, 16, True, R, 2),
    Row(3, 72, 24, False, R, 2),
    Row(3, 88, 24, False, R, 1),
    Row(5, 96, 40, True, H, 2),
    Row(5, 240, 40, True, H, 1),
    Row(5, 240, 40, True, H, 1),
    Row(5, 120, 48, True, H, 1),
    Row(5, 144, 48, True, H, 1),
    Row(5, 288, 96, True, H, 2),
    Row(5, 576, 96, True, H, 1),
    Row(5, 576, 96, True, H, 1),
)


def minimalistic(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return the rows without what is slow on some hardware: 5x5 kernels, SE and hard activations."""
    return tuple(row._replace(kernel=3, se=False, act=R) for row in rows)


class Network(NamedTuple):
    """A network of the paper."""

    rows: tuple[Row, ...]
    a: float  # width multiplier
    head: int  # width of the layer before the classes
    act: type[nn.Hardswish] | type[nn.ReLU]  # of the stem and the head


VARIANTS = {
    "large": Network(LARGE, 1.0, 1280, H),
    "small": Network(SMALL_ROWS, 1.0, 1024, H),
    "large-0.75": Network(LARGE, 0.75, 1280, H),
    "small-0.75": Network(SMALL_ROWS, 0.75, 1024, H),
    "large-minimalistic": Network(minimalistic(LARGE), 1.0, 1280, R),
    "small-minimalistic": Network(minimalistic(SMALL_ROWS), 1.0, 1024, R),
}


def conv_bn(
    c_in: int,
    c_out: int,
    act: type[nn.Hardswish] | type[nn.ReLU] | None,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Return convolution, batch norm and, unless None, activation. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(c_out, eps=0.001, momentum=0.01)
    return nn.Sequential(conv, norm, *([act(inplace=True)] if act else []))


def squeeze_excite(c: int) -> SqueezeExcite:
    """Return squeeze-and-excitation to about c/4 channels, with a hard sigmoid.

    The hard sigmoid is timm's: torch's has no second derivative, which attention transfer of gradients needs.
    """
    return SqueezeExcite(c, round_to_8(c // 4), HardSigmoid())


class InvertedResidual(nn.Module):
    """Widen, depthwise, squeeze-and-excitation, narrow. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, wide: int, c_out: int, stride: int, row: Row):
        super().__init__()
        self.block = nn.Sequential(
            *([conv_bn(c_in, wide, row.act)] if wide != c_in else []),
            conv_bn(wide, wide, row.act, row.kernel, stride, groups=wide),
            *([squeeze_excite(wide)] if row.se else []),
            conv_bn(wide, c_out, None),
        )
        self.shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.shortcut else self.block(x)


class MobileNetV3(Classifier):
    """`MobileNetV3("large")` for ImageNet, `MobileNetV3("small", num_classes=10, image_size=32)` for CIFAR.

    Args:
        variant: a key of `VARIANTS`: "large" "small", with "-0.75" or "-minimalistic".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image form. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are).
    """

    torchvision_names = {"large": "mobilenet_v3_large", "small": "mobilenet_v3_small"}

    def __init__(
        self,
        variant: str = "large",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        rows, a, head, act = VARIANTS[validate_choice(variant, VARIANTS, "MobileNetV3")]
        image_size = image_size or 224
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        small = image_size <= SMALL
        strides = [row.stride for row in rows]
        halving = [i for i, stride in enumerate(strides) if stride == 2]
        if small:
            strides[halving[0]] = 1
        full, c_in = 16, round_to_8(16 * a)  # input channels, before and after multiplication
        self.features = nn.Sequential(conv_bn(3, c_in, act, kernel=3, stride=1 if small else 2))
        for row, stride in zip(rows, strides, strict=True):
            c_out = round_to_8(row.c * a)
            self.features.append(InvertedResidual(c_in, round_to_8(c_in * row.wide / full), c_out, stride, row))
            full, c_in = row.c, c_out
        self.features.append(conv_bn(c_in, 6 * c_in, act))
        ends = [*halving[1:], len(rows)]  # the last blocks at strides 4, 8, 16 and 32; features.0 is the stem
        self.stage_paths = {f"stage{i}": f"features.{end}" for i, end in enumerate(ends, 1)}
        hidden, fc = nn.Linear(6 * c_in, head), nn.Linear(head, num_classes)
        self.classifier = nn.Sequential(hidden, act(inplace=True), nn.Dropout(0.2), fc)
        self.apply(he_fan_out_01)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))
