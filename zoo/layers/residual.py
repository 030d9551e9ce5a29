"""Stem, shortcuts and stages of residual networks.

Paper:    Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016) https://arxiv.org/abs/1512.03385,
          section 3.3
"""

from collections.abc import Callable, Sequence

from torch import nn


def conv1(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """Return a 1x1 convolution without bias. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    return nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False)


def conv3(c_in: int, c_out: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a padded 3x3 convolution without bias. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""
    return nn.Conv2d(c_in, c_out, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False)


def stem(c: int, small: bool) -> nn.Conv2d:
    """Return the first convolution: 7x7 of stride 2; for small images 3x3 of stride 1."""
    size, stride = (3, 1) if small else (7, 2)
    return nn.Conv2d(3, c, kernel_size=size, stride=stride, padding=size // 2, bias=False)


def stem_pool(small: bool) -> nn.Module:
    """Return the pooling after the first convolution: 3x3 of stride 2; none for small images."""
    return nn.Identity() if small else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)


def projection(c_in: int, c_out: int, stride: int) -> nn.Module | None:
    """Return a 1x1 convolution and a batch norm where the shape changes, else None: the identity."""
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(conv1(c_in, c_out, stride), nn.BatchNorm2d(c_out))


def stages(
    block: Callable[[int, int, int], nn.Module], depths: Sequence[int], c_in: int, w: int, expansion: int
) -> list[nn.Sequential]:
    """Return the stages of a residual network: w, 2w, 4w, ... inner channels; all but the first halve the maps.

    Args:
        block: (channels that come in, inner channels, stride) -> a block.
        depths: number of blocks per stage. The first one changes size and channels.
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
