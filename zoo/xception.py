"""Xception: Inception taken to its end, where every channel has a branch of its own: separable convolutions.

Paper:    Xception: Deep Learning with Depthwise Separable Convolutions (Chollet; CVPR 2017)
          https://arxiv.org/abs/1610.02357, figure 5
Code:     keys and function of timm 1.0 `legacy_xception`
Block:    y = S(x) + R(x); R: (ReLU, separable 3x3, BN) two or three times [max pool 3x3, stride 2]; S: the identity, or
          a 1x1 of stride 2 and BN. Separable: a 3x3 for each channel, then a 1x1 over the channels, nothing in between
Shapes:   (N, 3, 299, 299) -> 64 x 147 -> 128 x 74 -> 256 x 37 -> 728 x 19 (8 middle blocks) -> 1024 x 10 -> 1536 ->
          2048 x 10 -mean-> (N, K)
Defaults: training arguments of `Classifier`; dropout 0.5 before the classes (section 4.3); He initialisation, fan-out,
          as timm
Differs:  The first two convolutions are not padded, and pools are padded by 1 on each side, as in timm (and in Keras's
          stem). The form with hidden layers before the classes, which the paper tries on JFT, is not here. For up to 64
          px the first convolution and the first block have stride 1 and the stem is padded: ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.init import he_fan_out


class Row(NamedTuple):
    """A block of figure 5."""

    widths: tuple[int, ...]  # channels of its separable convolutions
    stride: int = 1


VARIANTS = {
    "ImageNet": (
        Row((128, 128), 2),
        Row((256, 256), 2),
        Row((728, 728), 2),
        *[Row((728, 728, 728))] * 8,
        Row((728, 1024), 2),
    )
}


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
        first: leave out the first ReLU.
        project: a 1x1 convolution and BN in the shortcut.
    """

    def __init__(self, c_in: int, widths: Sequence[int], stride: int, first: bool, project: bool):
        super().__init__()
        layers: list[nn.Module] = []
        for c, c_out in zip((c_in, *widths), widths, strict=False):
            # the first ReLU is not in place: the shortcut needs the block's input
            layers += [nn.ReLU(inplace=bool(layers)), SeparableConv(c, c_out), nn.BatchNorm2d(c_out)]
        pool = [nn.MaxPool2d(3, stride=2, padding=1)] if stride == 2 else []
        self.rep = nn.Sequential(*layers[1 if first else 0 :], *pool)
        self.skip = nn.Conv2d(c_in, widths[-1], kernel_size=1, stride=stride, bias=False) if project else nn.Identity()
        self.skipbn = nn.BatchNorm2d(widths[-1]) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.rep(x) + self.skipbn(self.skip(x))


class Xception(Classifier):
    """`Xception()` for ImageNet at 299 px, `Xception(num_classes=10, image_size=32)` for CIFAR.

    Args:
        variant: "ImageNet", the only one.
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 299.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for another variant.
    """

    timm_names = {"ImageNet": "legacy_xception"}
    block1: Block
    block2: Block
    block3: Block
    block4: Block
    block5: Block
    block6: Block
    block7: Block
    block8: Block
    block9: Block
    block10: Block
    block11: Block
    block12: Block

    def __init__(
        self,
        variant: str = "ImageNet",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        blocks = VARIANTS[validate_choice(variant, VARIANTS, "Xception")]
        image_size = image_size or 299
        small = image_size <= SMALL
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        stride, padding = (1, 1) if small else (2, 0)
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, stride=stride, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, padding=padding, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.act2 = nn.ReLU(inplace=True)
        c_in = 64
        for i, (widths, s) in enumerate(blocks, 1):
            block = Block(c_in, widths, 1 if small and i == 1 else s, first=i == 1, project=s == 2)
            self.add_module(f"block{i}", block)
            c_in = widths[-1]
        self.conv3 = SeparableConv(1024, 1536)
        self.bn3 = nn.BatchNorm2d(1536)
        self.act3 = nn.ReLU(inplace=True)
        self.conv4 = SeparableConv(1536, 2048)
        self.bn4 = nn.BatchNorm2d(2048)
        self.act4 = nn.ReLU(inplace=True)
        ends = ("act2", "block1", "block2", "block11", "act4")
        self.stage_paths = {f"stage{i}": end for i, end in enumerate(ends, 1)}
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)
        self.apply(he_fan_out)
        if weights is not None:
            self.load_weights(weights)

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
