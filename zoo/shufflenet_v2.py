"""ShuffleNetV2: half of the channels pass, half are convolved, all are shuffled: made for speed, not for low counts.

Paper:    ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design (Ma, Zhang, Zheng, Sun; ECCV 2018)
          https://arxiv.org/abs/1807.11164, Table 5
Code:     https://github.com/megvii-model/ShuffleNet-Series (the authors'); keys and function of torchvision 0.29
          `shufflenet_v2_*`
Block:    F(x) = ReLU BN conv1x1(BN dwconv3x3(ReLU BN conv1x1(x)));  stride 1: x = [x1, x2], y = shuffle [x1, F(x2)];
          stride 2: y = shuffle [ReLU BN conv1x1(BN dwconv3x3(x)), F(x)]
Shapes:   (N, 3, H, W) -conv, maxpool-> (N, 24, H/4, W/4) -4, 8, 4 units-> (N, 4C, H/32, W/32) -1x1-> (N, 1024 or 2048,
          H/32, W/32) -> (N, K)
Defaults: dropout .2 before the head of 2.0x (the authors' code); weights as torch has them (torchvision)
Differs:  the network is torchvision's: each branch of a stride-2 unit returns half of C_out, and the shuffle comes
          after the concatenation. In the authors' code the left branch returns C_in channels and the right one the
          rest, and the shuffle comes before the split of the next unit; their head has no bias, and their weights are
          drawn as in `shufflenet_v1.py`. For images of up to 64 px the first convolution has stride 1 and there is no
          max pool, so that the last map is H/8: ours. `stage1` is the input of the units; `stage2` to `stage4` are the
          paper's.
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
    """A column of Table 5."""

    channels: tuple[int, int, int]  # of stages 2, 3 and 4
    last: int  # channels of the last 1x1
    dropout: float = 0.0  # before the head


VARIANTS = {
    "0.5x": Row((48, 96, 192), 1024),
    "1.0x": Row((116, 232, 464), 1024),
    "1.5x": Row((176, 352, 704), 1024),
    "2.0x": Row((244, 488, 976), 2048, dropout=0.2),
}


class Unit(nn.Module):
    """Two branches of C_out / 2 channels. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        half = c_out // 2
        self.branch1 = None if stride == 1 else left_branch(c_in, half, stride)
        self.branch2 = nn.Sequential(
            *conv_bn_act(half if stride == 1 else c_in, half),
            *conv_bn_act(half, half, 3, stride, groups=half, act=None),
            *conv_bn_act(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if self.branch1 is None else (self.branch1(x), x)
        return channel_shuffle(torch.cat((left, self.branch2(right)), 1), 2)


def left_branch(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """Return depthwise 3x3 and 1x1: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    return nn.Sequential(*conv_bn_act(c_in, c_in, 3, stride, groups=c_in, act=None), *conv_bn_act(c_in, c_out))


def stage(c_in: int, c: int, depth: int) -> nn.Sequential:
    """Return `depth` units, the first of which halves the maps: (N, C_in, H, W) -> (N, C, H/2, W/2)."""
    return nn.Sequential(Unit(c_in, c, stride=2), *(Unit(c, c, stride=1) for _ in range(depth - 1)))


class ShuffleNetV2(Model):
    """`ShuffleNetV2("1.0x")` for ImageNet, `ShuffleNetV2("1.0x", num_classes=10, image_size=32)` for CIFAR."""

    variants = VARIANTS
    stage_paths = ("maxpool", "stage2", "stage3", "stage4")
    block_path = "stage2.1"
    torchvision_names = {name: f"shufflenet_v2_x{name[0]}_{name[2]}" for name in VARIANTS}

    def __init__(
        self,
        variant: str = "1.0x",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        c2, c3, c4 = row.channels
        self.conv1 = conv_bn_act(3, 24, 3, stride=1 if self.small else 2)
        self.maxpool = nn.Identity() if self.small else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.stage2 = stage(24, c2, depth=4)
        self.stage3 = stage(c2, c3, depth=8)
        self.stage4 = stage(c3, c4, depth=4)
        self.conv5 = conv_bn_act(c4, row.last)
        self.dropout = nn.Dropout(row.dropout) if row.dropout else nn.Identity()
        self.fc = nn.Linear(row.last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.stage4(self.stage3(self.stage2(x)))
        x = global_average(self.conv5(x))  # (N, 1024)
        return self.fc(self.dropout(x))
