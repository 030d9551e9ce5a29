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

from timm.layers.activations import HardSigmoid
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.mobilenet_v1 import init_weights
from zoo.mobilenet_v2 import round_to_8

H, R = nn.Hardswish, nn.ReLU
#    kernel, width, channels out, SE, activation, stride: Table 1
LARGE = (
    (3, 16, 16, False, R, 1),
    (3, 64, 24, False, R, 2),
    (3, 72, 24, False, R, 1),
    (5, 72, 40, True, R, 2),
    (5, 120, 40, True, R, 1),
    (5, 120, 40, True, R, 1),
    (3, 240, 80, False, H, 2),
    (3, 200, 80, False, H, 1),
    (3, 184, 80, False, H, 1),
    (3, 184, 80, False, H, 1),
    (3, 480, 112, True, H, 1),
    (3, 672, 112, True, H, 1),
    (5, 672, 160, True, H, 2),
    (5, 960, 160, True, H, 1),
    (5, 960, 160, True, H, 1),
)
SMALL_ROWS = (  # Table 2
    (3, 16, 16, True, R, 2),
    (3, 72, 24, False, R, 2),
    (3, 88, 24, False, R, 1),
    (5, 96, 40, True, H, 2),
    (5, 240, 40, True, H, 1),
    (5, 240, 40, True, H, 1),
    (5, 120, 48, True, H, 1),
    (5, 144, 48, True, H, 1),
    (5, 288, 96, True, H, 2),
    (5, 576, 96, True, H, 1),
    (5, 576, 96, True, H, 1),
)


def minimalistic(rows: tuple[tuple, ...]) -> tuple[tuple, ...]:
    """The rows without what is slow on some hardware: 5x5 kernels, SE and hard activations."""
    return tuple((3, wide, c, False, R, stride) for _, wide, c, _, _, stride in rows)


#        rows, width multiplier, width of the head, its activation
VARIANTS = {
    "large": (LARGE, 1.0, 1280, H),
    "small": (SMALL_ROWS, 1.0, 1024, H),
    "large-0.75": (LARGE, 0.75, 1280, H),
    "small-0.75": (SMALL_ROWS, 0.75, 1024, H),
    "large-minimalistic": (minimalistic(LARGE), 1.0, 1280, R),
    "small-minimalistic": (minimalistic(SMALL_ROWS), 1.0, 1024, R),
}


def conv_bn(
    c_in: int, c_out: int, act: type | None, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm and, if there is one, activation. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(c_out, eps=0.001, momentum=0.01)
    return nn.Sequential(conv, norm, *([act(inplace=True)] if act else []))


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate in [0, 1], made of the means of all. Shapes: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, c: int):
        super().__init__()
        squeezed = round_to_8(c // 4)
        self.fc1 = nn.Conv2d(c, squeezed, kernel_size=1)
        self.fc2 = nn.Conv2d(squeezed, c, kernel_size=1)
        self.activation = nn.ReLU(inplace=True)
        self.scale_activation = HardSigmoid()  # torch's has no second derivative, which attention of gradients takes

    def forward(self, x: Tensor) -> Tensor:
        gate = self.activation(self.fc1(x.mean((2, 3), keepdim=True)))  # (N, squeezed, 1, 1)
        return x * self.scale_activation(self.fc2(gate))


class InvertedResidual(nn.Module):
    """Widen, depthwise, squeeze-and-excitation, narrow. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, wide: int, c_out: int, kernel: int, se: bool, act: type, stride: int):
        super().__init__()
        self.block = nn.Sequential(
            *([conv_bn(c_in, wide, act)] if wide != c_in else []),
            conv_bn(wide, wide, act, kernel, stride, groups=wide),
            *([SqueezeExcite(wide)] if se else []),
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
        strides = [row[-1] for row in rows]
        halving = [i for i, stride in enumerate(strides) if stride == 2]
        if small:
            strides[halving[0]] = 1
        full, c_in = 16, round_to_8(16 * a)  # channels that come in, before and after multiplication
        self.features = nn.Sequential(conv_bn(3, c_in, act, kernel=3, stride=1 if small else 2))
        for (kernel, wide, c, se, row_act, _), stride in zip(rows, strides, strict=True):
            c_out = round_to_8(c * a)
            block = InvertedResidual(c_in, round_to_8(c_in * wide / full), c_out, kernel, se, row_act, stride)
            self.features.append(block)
            full, c_in = c, c_out
        self.features.append(conv_bn(c_in, 6 * c_in, act))
        ends = [*halving[1:], len(rows)]  # the last blocks at strides 4, 8, 16 and 32; features.0 is the stem
        self.stage_paths = {f"stage{i}": f"features.{end}" for i, end in enumerate(ends, 1)}
        hidden, fc = nn.Linear(6 * c_in, head), nn.Linear(head, num_classes)
        self.classifier = nn.Sequential(hidden, act(inplace=True), nn.Dropout(0.2), fc)
        self.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))
