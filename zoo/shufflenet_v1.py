"""ShuffleNetV1: 1x1 convolutions in groups, with a shuffle of channels so that information crosses the groups.

Paper:    ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices (Zhang, Zhou, Lin, Sun;
          CVPR 2018) https://arxiv.org/abs/1707.01083, Table 1
Code:     https://github.com/megvii-model/ShuffleNet-Series (the authors'), whose keys these are
Block:    F(x) = BN gconv1x1(shuffle(BN dwconv3x3(ReLU BN gconv1x1(x)))), the middle C_out / 4 wide;
          stride 1: y = ReLU(x + F(x));  stride 2: y = [avgpool3x3(x), ReLU F(x)], where F gives C_out - C_in channels
Shapes:   (N, 3, H, W) -conv, maxpool-> (N, 24, H/4, W/4) -4, 8, 4 units-> (N, 4C, H/32, W/32) -> (N, K)
Defaults: the authors' code: weights N(0, .01^2) in the first convolution and the head, N(0, (g / C_in)^2) in the others
          (depthwise: N(0, 1)), shifts of batch norms .0001
Differs:  the shuffle follows the depthwise convolution, and group i takes the channels i, i + g, i + 2g, ..., as in the
          authors' code; in the paper it precedes the depthwise convolution, and in the inverse order. The head has a
          bias; the authors' has none. For images of up to 64 px the first convolution has stride 1 and there is no max
          pool, so that the last map is H/8: ours. `stage1` is the input of the units; `stage2` to `stage4` are the
          paper's. As in the paper, the first 1x1 of the network is not grouped.
"""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.channel_shuffle import channel_shuffle
from zoo.layers.conv_bn import conv_bn_act
from zoo.layers.layout import global_average


@dataclass(frozen=True)
class Row:
    """A column of Table 1; widths of other scales are from the authors' code."""

    groups: int  # g
    stem: int  # channels of the first convolution
    width: int  # channels of stage 2, doubled in stages 3 and 4


VARIANTS = {
    "1.0x-g1": Row(1, 24, 144),
    "1.0x-g2": Row(2, 24, 200),
    "1.0x-g3": Row(3, 24, 240),
    "1.0x-g4": Row(4, 24, 272),
    "1.0x-g8": Row(8, 24, 384),
    "0.5x-g3": Row(3, 12, 120),
    "0.5x-g8": Row(8, 16, 192),
    "1.5x-g3": Row(3, 24, 360),
    "1.5x-g8": Row(8, 24, 576),
    "2.0x-g3": Row(3, 48, 480),
    "2.0x-g8": Row(8, 48, 768),
}


class Unit(nn.Module):
    """Grouped 1x1, depthwise 3x3, shuffle, grouped 1x1. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, stride: int, groups: int, first: bool):
        super().__init__()
        self.groups = groups
        c, added = c_out // 4, c_out if stride == 1 else c_out - c_in
        self.branch_main_1 = nn.Sequential(
            *conv_bn_act(c_in, c, groups=1 if first else groups),
            *conv_bn_act(c, c, 3, stride, groups=c, act=None),
        )
        self.branch_main_2 = conv_bn_act(c, added, groups=groups, act=None)
        self.branch_proj = None if stride == 1 else nn.AvgPool2d(kernel_size=3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch_main_1(x)
        y = self.branch_main_2(channel_shuffle(y, y.shape[1] // self.groups))
        if self.branch_proj is None:
            return self.relu(x + y)
        return torch.cat((self.branch_proj(x), self.relu(y)), 1)


class ShuffleNetV1(Model):
    """`ShuffleNetV1("1.0x-g3")` for ImageNet, `ShuffleNetV1("1.0x-g3", num_classes=10, image_size=32)` for CIFAR."""

    variants = VARIANTS
    stage_paths = ("maxpool", "features.3", "features.11", "features.15")
    block_path = "features.1"

    def __init__(
        self,
        variant: str = "1.0x-g3",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        c_in = row.stem
        self.first_conv = conv_bn_act(3, c_in, 3, stride=1 if self.small else 2)
        self.maxpool = nn.Identity() if self.small else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.features = nn.Sequential()
        for stage, depth in enumerate((4, 8, 4)):
            for i in range(depth):
                c_out, stride = row.width * 2**stage, 2 if i == 0 else 1
                self.features.append(Unit(c_in, c_out, stride, row.groups, first=stage == i == 0))
                c_in = c_out
        self.classifier = nn.Sequential(nn.Linear(c_in, num_classes))
        self.apply(init_weights)
        nn.init.normal_(self.get_parameter("first_conv.0.weight"), std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.first_conv(x))
        x = self.features(x)  # (N, 4C, H/32, W/32)
        return self.classifier(global_average(x))


def init_weights(module: nn.Module) -> None:
    """Draw convolutions from N(0, (g / C_in)^2) and the head from N(0, .01^2); shift batch norms by .0001."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=1 / module.weight.shape[1])
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.constant_(module.bias, 0.0001)
