"""Stem and shortcuts of residual networks, and their initialisation.

Papers:   Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016) https://arxiv.org/abs/1512.03385,
          section 3.3; Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019)
          https://arxiv.org/abs/1812.01187, section 4
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def conv1(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """Return a 1x1 convolution without bias. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    return nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False)


def conv3(c_in: int, c_out: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a padded 3x3 convolution without bias. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    return nn.Conv2d(c_in, c_out, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False)


def stem(width: int, deep: bool, stride: int) -> nn.Module:
    """Return the first convolution: 7x7, or 3x3 at stride 1; `deep` (C, D): 3x3 to w/2, 3x3 to w/2, 3x3 to w."""
    if not deep:
        size = 3 if stride == 1 else 7
        return nn.Conv2d(3, width, kernel_size=size, stride=stride, padding=size // 2, bias=False)
    half = width // 2
    return nn.Sequential(
        conv3(3, half, stride), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
        conv3(half, half), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
        conv3(half, width),
    )  # fmt: skip


def stem_pool(small: bool) -> nn.Module:
    """Return the pooling after the first convolution: 3x3 of stride 2; none for small images."""
    return nn.Identity() if small else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)


class PadShortcut(nn.Module):
    """Option A: every s-th pixel; the new channels are 0, half of them before the old ones and half after."""

    def __init__(self, extra: int, stride: int):
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


def make_shortcut(c_in: int, c_out: int, stride: int, kind: str) -> nn.Module:
    """Return a shortcut that changes the shape: (N, C_in, H, W) -> (N, C_out, H/s, W/s).

    Args:
        c_in, c_out: channels.
        stride: s.
        kind: "A": pad with zeros; "B": project by a 1x1; "D": average, then project.
    """
    if kind == "A":
        return PadShortcut(c_out - c_in, stride)
    if kind == "B":
        return nn.Sequential(conv1(c_in, c_out, stride), nn.BatchNorm2d(c_out))
    pool = nn.Identity() if stride == 1 else nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, conv1(c_in, c_out), nn.BatchNorm2d(c_out))


def projection(c_in: int, c_out: int, stride: int) -> nn.Module | None:
    """Return an option B shortcut where the shape changes, else None: the identity."""
    return None if stride == 1 and c_in == c_out else make_shortcut(c_in, c_out, stride, "B")


def stages(
    block: Callable[[int, int, int], nn.Module], depths: Sequence[int], c_in: int, w: int, expansion: int
) -> list[nn.Sequential]:
    """Return the stages of a residual network: w, 2w, 4w, ... inner channels; all but the first halve the maps.

    Args:
        block: (channels that come in, inner channels, stride) -> a block.
        depths: number of blocks of each stage. The first one changes size and channels.
        c_in: channels of the stem.
        w: inner channels of the first stage.
        expansion: channels that a block returns / its inner channels.
    """
    layers = []
    for i, depth in enumerate(depths):
        c, stride = w * 2**i, 1 if i == 0 else 2
        layers.append(nn.Sequential(block(c_in, c, stride), *(block(expansion * c, c, 1) for _ in range(depth - 1))))
        c_in = expansion * c
    return layers
