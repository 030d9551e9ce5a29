"""CBAM: a residual network whose blocks weigh first their channels, then their pixels.

Paper:    CBAM: Convolutional Block Attention Module (Woo, Park, Lee, Kweon; ECCV 2018) https://arxiv.org/abs/1807.06521
Code:     https://github.com/Jongchan/attention-module (the authors'); its keys
Block:    y = ReLU(x + Ms * F'), F' = Mc * F(x), F: the two 3x3 or the bottleneck of ResNet-B
          Mc = sigmoid(MLP(mean F) + MLP(max F)), one number a channel, the MLP C -> C/16 -> C shared
          Ms = sigmoid(BN conv7x7 [max F', mean F']), one number a pixel, max and mean over channels
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -4 stages-> (N, 512e, H/32, W/32) -> (N, K), e = 1 or 4
Defaults: reduction 16, kernel 7; convolutions He by fan-out, the head He by fan-in, biases 0, linear layers of Mc as
          torch has them; the gamma of Ms starts at 0, so each pixel at 1/2; its momentum is .01 (the authors' code)
Differs:  the shortcuts' 1x1 are He by fan-out too; the authors' loop over names leaves them as torch has them. The
          paper counts a bottleneck's stride in the 1x1 (3.864 G for 50), the authors' code has it in the 3x3 (4.096 G),
          as here. For images of up to 64 px the stem is one 3x3 of stride 1 without pooling, as in the authors' CIFAR
          form.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_out
from zoo.layers.layout import global_average, match_layout
from zoo.layers.residual import conv1, conv3, projection, stages, stem, stem_pool

REDUCTION = 16


class ChannelGate(nn.Module):
    """Weigh channels by Mc. Shapes: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, c: int):
        super().__init__()
        squeeze, excite = nn.Linear(c, c // REDUCTION), nn.Linear(c // REDUCTION, c)
        self.mlp = nn.Sequential(nn.Flatten(), squeeze, nn.ReLU(inplace=True), excite)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.sigmoid(self.mlp(global_average(x)) + self.mlp(x.amax((2, 3))))  # (N, C)
        return x * weight[:, :, None, None]


class SpatialGate(nn.Module):
    """Weigh pixels by Ms. Shapes: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self):
        super().__init__()
        conv, bn = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False), nn.BatchNorm2d(1, momentum=0.01)
        self.spatial = nn.Sequential(OrderedDict(conv=conv, bn=bn))
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)  # (N, 2, H, W)
        return x * self.sigmoid(self.spatial(match_layout(maps, x)))


class CBAM(nn.Sequential):
    """Channels, then pixels. Shapes: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, c: int):
        super().__init__()
        self.ChannelGate = ChannelGate(c)  # the authors' names
        self.SpatialGate = SpatialGate()


class CBAMBasic(nn.Module):
    """Two 3x3 convolutions. Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    expansion = 1

    def __init__(self, c_in: int, w: int, stride: int):
        super().__init__()
        self.conv1 = conv3(c_in, w, stride)
        self.bn1 = nn.BatchNorm2d(w)
        self.conv2 = conv3(w, w)
        self.bn2 = nn.BatchNorm2d(w)
        self.relu = nn.ReLU(inplace=True)
        self.cbam = CBAM(w)
        self.downsample = projection(c_in, w, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.cbam(self.bn2(self.conv2(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class CBAMBottleneck(nn.Module):
    """1x1 to w channels, 3x3, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    expansion = 4

    def __init__(self, c_in: int, w: int, stride: int):
        super().__init__()
        self.conv1 = conv1(c_in, w)
        self.bn1 = nn.BatchNorm2d(w)
        self.conv2 = conv3(w, w, stride)
        self.bn2 = nn.BatchNorm2d(w)
        self.conv3 = conv1(w, 4 * w)
        self.bn3 = nn.BatchNorm2d(4 * w)
        self.relu = nn.ReLU(inplace=True)
        self.cbam = CBAM(4 * w)
        self.downsample = projection(c_in, 4 * w, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.cbam(self.bn3(self.conv3(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


@dataclass(frozen=True)
class Row:
    """A row of ResNet's table."""

    block: type[CBAMBasic | CBAMBottleneck]  # kind of block
    depths: tuple[int, int, int, int]  # blocks per stage


VARIANTS = {
    "18": Row(CBAMBasic, (2, 2, 2, 2)),
    "34": Row(CBAMBasic, (3, 4, 6, 3)),
    "50": Row(CBAMBottleneck, (3, 4, 6, 3)),
    "101": Row(CBAMBottleneck, (3, 4, 23, 3)),
}


class CBAMResNet(Model):
    """`CBAMResNet("50")` for ImageNet, `CBAMResNet("18", num_classes=10, image_size=32)` for small images."""

    variants = VARIANTS
    stage_paths = ("layer1", "layer2", "layer3", "layer4")
    block_path = "layer2.1"

    def __init__(
        self,
        variant: str | int = "50",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        self.conv1 = stem(64, self.small)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = stem_pool(self.small)
        e = row.block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(row.block, row.depths, 64, 64, e)
        self.fc = nn.Linear(512 * e, num_classes)
        self.apply(he_fan_out)
        self.apply(init_gates)
        nn.init.kaiming_normal_(self.fc.weight, nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(global_average(x))


def init_gates(module: nn.Module) -> None:
    """Let each pixel start at 1/2 (gamma 0) and each channel near 1/2 (biases 0)."""
    if isinstance(module, SpatialGate):
        nn.init.zeros_(module.get_parameter("spatial.bn.weight"))
    elif isinstance(module, ChannelGate):
        for layer in (1, 3):
            nn.init.zeros_(module.get_parameter(f"mlp.{layer}.bias"))
