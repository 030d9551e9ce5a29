"""MobileNetV1: each convolution as a depthwise one for space and a 1x1 for channels, at any width.

Paper:    MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications (Howard, Zhu, Chen,
          Kalenichenko, Wang, Weyand, Andreetto, Adam; 2017) https://arxiv.org/abs/1704.04861, Table 1
Code:     https://github.com/tensorflow/models, research/slim/nets/mobilenet_v1.py (the authors'); keys and function of
          timm 1.0 `mobilenetv1_100`
Block:    y = ReLU6 BN conv1x1(ReLU6 BN dwconv3x3(x)): 1 / C_out + 1 / 9 of the multiply-adds of a full 3x3
Shapes:   (N, 3, H, W) -stem-> (N, 32a, H/2, W/2) -13 blocks-> (N, 1024a, H/32, W/32) -> (N, K), a the width multiplier
Defaults: training arguments of `Classifier`; He initialisation, fan-out, N(0, .01) in the head (torchvision's for
          MobileNetV2; the paper gives none)
Differs:  ReLU6 as in the authors' code, where the paper writes ReLU. Padding is the same on all sides (timm), in the
          authors' code more at the right and below. For images of up to 64 px the first two strides are 1, so that the
          last map is H/8: ours, not the paper's. `stage1` is the first of stride 4.
"""

from typing import NamedTuple

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.init import he_fan_out_01

#        width multiplier: Table 6
VARIANTS = {"1.0": 1.0, "0.75": 0.75, "0.5": 0.5, "0.25": 0.25}


class Row(NamedTuple):
    """Blocks of equal width in Table 1."""

    c: int  # channels
    depth: int  # number of blocks
    stride: int  # of the first one


LAYERS = (Row(64, 1, 1), Row(128, 2, 2), Row(256, 2, 2), Row(512, 6, 2), Row(1024, 2, 2))


class SeparableConv(nn.Module):
    """Depthwise 3x3, then 1x1. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv_dw = nn.Conv2d(c_in, c_in, kernel_size=3, stride=stride, padding=1, groups=c_in, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv_pw = nn.Conv2d(c_in, c_out, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_dw(x)))
        x = self.conv_pw(x)  # a line of its own frees its input before the norm: 5 % of the time of inference
        return self.act(self.bn2(x))


class MobileNetV1(Classifier):
    """`MobileNetV1("0.5")` has half the channels of `MobileNetV1("1.0")`; `num_classes=10, image_size=32` for CIFAR.

    Args:
        variant: a key of `VARIANTS`, the width multiplier: "1.0" "0.75" "0.5" "0.25".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image form. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are).
    """

    timm_names = {"1.0": "mobilenetv1_100"}

    def __init__(
        self,
        variant: str | float = "1.0",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        a = VARIANTS[validate_choice(str(variant), VARIANTS, "MobileNetV1")]
        image_size = image_size or 224
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        small = image_size <= SMALL
        c_in = int(32 * a)
        self.conv_stem = nn.Conv2d(3, c_in, kernel_size=3, stride=1 if small else 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.act = nn.ReLU6(inplace=True)
        self.blocks = nn.Sequential()
        for i, row in enumerate(LAYERS):
            c, stride = int(row.c * a), 1 if small and i == 1 else row.stride
            first, rest = SeparableConv(c_in, c, stride), (SeparableConv(c, c, 1) for _ in range(row.depth - 1))
            self.blocks.append(nn.Sequential(first, *rest))
            c_in = c
        self.stage_paths = {f"stage{i}": f"blocks.{i}" for i in (1, 2, 3, 4)}
        self.classifier = nn.Linear(c_in, num_classes)
        self.apply(he_fan_out_01)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_stem(x)))
        x = self.blocks(x)  # (N, 1024a, H/32, W/32)
        return self.classifier(x.mean((2, 3)))
