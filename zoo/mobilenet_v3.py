"""MobileNetV3: MobileNetV2's blocks with squeeze-and-excitation and hard activations, found by search; a cheap head.

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
Differs:  padding is the same on all sides (torchvision); the authors' code pads more at the right and below. At .75 a
          block widens its rounded input by the ratio of the table, and the last 1280 or 1024 stay (timm, which has the
          paper's 4.0 and 2.0 million parameters; torchvision multiplies all). Minimalistic rows (3x3 and ReLU only, no
          SE) are the authors' code. For images of up to 64 px the first two strides are 1, so that the last map is H/8:
          ours, not the paper's. Stages begin at H/4. SGD, where the paper has TensorFlow's RMSProp and does not give
          its epsilon, on which the size of a step hangs.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Unpack

from timm.layers.activations import HardSigmoid
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.conv_bn import conv_bn_act
from zoo.layers.init import he_fan_out_01
from zoo.layers.layout import global_average
from zoo.layers.round_to_8 import round_to_8
from zoo.layers.squeeze_excite import SqueezeExcite

Act = type[nn.Hardswish] | type[nn.ReLU]
H, R = nn.Hardswish, nn.ReLU
conv_bn = partial(conv_bn_act, eps=0.001, momentum=0.01)


@dataclass(frozen=True)
class Layer:
    """A block, a row of Table 1 or 2."""

    kernel: int  # side of the depthwise kernel
    wide: int  # channels inside the block
    c: int  # channels that it returns
    se: bool  # squeeze-and-excitation
    act: Act  # inside the block
    stride: int


LARGE = (  # Table 1
    Layer(3, 16, 16, False, R, 1),
    Layer(3, 64, 24, False, R, 2),
    Layer(3, 72, 24, False, R, 1),
    Layer(5, 72, 40, True, R, 2),
    Layer(5, 120, 40, True, R, 1),
    Layer(5, 120, 40, True, R, 1),
    Layer(3, 240, 80, False, H, 2),
    Layer(3, 200, 80, False, H, 1),
    Layer(3, 184, 80, False, H, 1),
    Layer(3, 184, 80, False, H, 1),
    Layer(3, 480, 112, True, H, 1),
    Layer(3, 672, 112, True, H, 1),
    Layer(5, 672, 160, True, H, 2),
    Layer(5, 960, 160, True, H, 1),
    Layer(5, 960, 160, True, H, 1),
)
SMALL = (  # Table 2
    Layer(3, 16, 16, True, R, 2),
    Layer(3, 72, 24, False, R, 2),
    Layer(3, 88, 24, False, R, 1),
    Layer(5, 96, 40, True, H, 2),
    Layer(5, 240, 40, True, H, 1),
    Layer(5, 240, 40, True, H, 1),
    Layer(5, 120, 48, True, H, 1),
    Layer(5, 144, 48, True, H, 1),
    Layer(5, 288, 96, True, H, 2),
    Layer(5, 576, 96, True, H, 1),
    Layer(5, 576, 96, True, H, 1),
)


def simplify(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return the layers without what is slow on some hardware: 5x5 kernels, SE and hard activations."""
    return tuple(replace(layer, kernel=3, se=False, act=R) for layer in layers)


@dataclass(frozen=True)
class Row:
    """A network of the paper."""

    layers: tuple[Layer, ...]
    a: float  # width multiplier
    head: int  # width of the layer before the classes
    act: Act  # of the stem and the head


VARIANTS = {
    "large": Row(LARGE, 1.0, 1280, H),
    "small": Row(SMALL, 1.0, 1024, H),
    "large-0.75": Row(LARGE, 0.75, 1280, H),
    "small-0.75": Row(SMALL, 0.75, 1024, H),
    "large-minimalistic": Row(simplify(LARGE), 1.0, 1280, R),
    "small-minimalistic": Row(simplify(SMALL), 1.0, 1024, R),
}


def squeeze_excite(c: int) -> SqueezeExcite:
    """Return squeeze-and-excitation to about c/4 channels, with a hard sigmoid.

    The hard sigmoid is timm's: torch's has no second derivative, which gradient-based attention transfer needs.
    """
    return SqueezeExcite(c, round_to_8(c // 4), HardSigmoid())


class InvertedResidual(nn.Module):
    """Widen, depthwise, squeeze-and-excitation, narrow. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, wide: int, c_out: int, stride: int, layer: Layer):
        super().__init__()
        self.block = nn.Sequential(
            *([conv_bn(c_in, wide, act=layer.act)] if wide != c_in else []),
            conv_bn(wide, wide, layer.kernel, stride, groups=wide, act=layer.act),
            *([squeeze_excite(wide)] if layer.se else []),
            conv_bn(wide, c_out, act=None),
        )
        self.shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.shortcut else self.block(x)


class MobileNetV3(Model):
    """`MobileNetV3("large")` for ImageNet, `MobileNetV3("small", num_classes=10, image_size=32)` for CIFAR."""

    variants = VARIANTS
    block_path = "features.5"
    torchvision_names = {"large": "mobilenet_v3_large", "small": "mobilenet_v3_small"}

    def __init__(
        self,
        variant: str = "large",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        strides = [layer.stride for layer in row.layers]
        halving = [i for i, stride in enumerate(strides) if stride == 2]
        if self.small:
            strides[halving[0]] = 1
        full, c_in = 16, round_to_8(16 * row.a)  # input channels of a block, before and after multiplication
        self.features = nn.Sequential(conv_bn(3, c_in, 3, stride=1 if self.small else 2, act=row.act))
        for layer, stride in zip(row.layers, strides, strict=True):
            wide, c_out = round_to_8(c_in * layer.wide / full), round_to_8(layer.c * row.a)
            self.features.append(InvertedResidual(c_in, wide, c_out, stride, layer))
            full, c_in = layer.c, c_out
        self.features.append(conv_bn(c_in, 6 * c_in, act=row.act))
        # the last blocks of H/4, H/8, H/16 and H/32; features.0 is the stem
        self.stage_paths = tuple(f"features.{end}" for end in (*halving[1:], len(row.layers)))
        hidden, fc = nn.Linear(6 * c_in, row.head), nn.Linear(row.head, num_classes)
        self.classifier = nn.Sequential(hidden, row.act(inplace=True), nn.Dropout(0.2), fc)
        self.apply(he_fan_out_01)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(global_average(self.features(x)))
