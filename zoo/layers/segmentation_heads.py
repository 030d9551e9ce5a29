"""Heads that classify each pixel of the maps of a network's stages: FCN, and a light form of UPerNet.

Paper:    Fully Convolutional Networks for Semantic Segmentation (Long, Shelhamer, Darrell; CVPR 2015), FCN
          https://arxiv.org/abs/1411.4038
          Unified Perceptual Parsing for Scene Understanding (Xiao, Liu, Zhou, Jiang, Sun; ECCV 2018), UPerNet
          https://arxiv.org/abs/1807.10221, section 3.1
Code:     torchvision.models.segmentation.fcn.FCNHead and torchvision.ops.FeaturePyramidNetwork, used here
Block:    FCN: the last map -> conv3x3 to a quarter of the channels, BN, ReLU, dropout .1 -> conv1x1 to K
          UPerNet: p_l of a feature pyramid, whose coarsest map also gets its means over grids of 1, 2, 3 and 6 cells
          -> all at the finest size, side by side -> conv3x3, BN, ReLU -> dropout .1 -> conv1x1 to K
          both: -> bilinear to the size of the images
Defaults: width = 128, ours: the paper's is 512; stages of stride 4 and more
Differs:  FCN has no skips from earlier maps and no dilated backbone. The light UPerNet has fewer
          channels, no auxiliary head, and one convolution where the paper has one for each level.
"""

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork

from zoo.frame.checks import validate_choice
from zoo.layers.pyramid import levels_of, read

CELLS = (1, 2, 3, 6)  # a side, of the grids of means
HEADS = ("fcn", "upernet-lite")


class FCN(nn.Module):
    """torchvision's head on the last of several maps."""

    def __init__(self, channels: list[int], num_classes: int, width: int):
        super().__init__()
        self.head = FCNHead(channels[-1], num_classes)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Classify maps given from fine to coarse: logits (N, K, h, w) at the size of the last."""
        logits: Tensor = self.head(maps[-1])
        return logits


class UPerNetLite(nn.Module):
    """A pyramid with means over the coarsest map, and one convolution over all levels.

    Args:
        channels: of the maps, from fine to coarse.
        num_classes: K.
        width: channels of every level.
    """

    def __init__(self, channels: list[int], num_classes: int, width: int):
        super().__init__()
        last = channels[-1]
        self.means = nn.ModuleList(nn.Conv2d(last, width, 1) for _ in CELLS)
        self.fpn = FeaturePyramidNetwork([*channels[:-1], last + len(CELLS) * width], width)
        self.fuse = Conv2dNormActivation(len(channels) * width, width, 3)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Classify maps given from fine to coarse: logits (N, K, h, w) at the size of the first."""
        coarse, size = maps[-1], maps[0].shape[-2:]
        means = [conv(F.adaptive_avg_pool2d(coarse, cells)) for conv, cells in zip(self.means, CELLS, strict=True)]
        coarse = torch.cat([coarse, *(enlarge(mean, coarse.shape[-2:]) for mean in means)], 1)
        levels = self.fpn(OrderedDict((str(i), x) for i, x in enumerate([*maps[:-1], coarse])))
        return self.head(self.dropout(self.fuse(torch.cat([enlarge(x, size) for x in levels.values()], 1))))


def enlarge(x: Tensor, size: torch.Size) -> Tensor:
    """Resize maps (N, C, h, w) to H and W, bilinear; in float32, as torch has no such kernel for bfloat16 on CPUs."""
    return F.interpolate(x.float(), size, mode="bilinear", align_corners=False).to(x.dtype)


class OverStages(nn.Module):
    """A network, and a head that classifies the pixels of its stages' maps.

    Args:
        body: a network with `stages`; it loses its classifier.
        head: "fcn" or "upernet-lite".
        num_classes: K.
        width: channels of UPerNet's levels.
        image_size: side of the images in pixels, with which strides are measured.
    """

    def __init__(self, body: Any, head: str, num_classes: int, width: int, image_size: int):
        super().__init__()
        kind = {"fcn": FCN, "upernet-lite": UPerNetLite}[validate_choice(head, HEADS, "StageSegmenter")]
        levels = levels_of(body, image_size, 4)
        self.body, self.names = body, levels.names
        self.decoder = kind(levels.channels, num_classes, width)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) -> logits (N, K, H, W)."""
        return enlarge(self.decoder(read(self.body, self.names, x)), x.shape[-2:])
