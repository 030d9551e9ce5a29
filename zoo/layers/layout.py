"""Memory layout of maps: channels last (NHWC) stays channels last."""

import torch
from torch import Tensor, nn
from torch.fx import Proxy


def is_channels_last(x: Tensor) -> bool:
    """Return whether maps (N, C, H, W) have the layout channels-last, and not also the contiguous one.

    False while `torch.fx` traces a network, to make it int8: it sees no layouts.
    """
    if isinstance(x, Proxy) or x.ndim != 4:
        return False
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def match_layout(y: Tensor, x: Tensor) -> Tensor:
    """Return the maps y in the layout of the maps x; copies only where it differs."""
    return y.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else y


def global_average(x: Tensor) -> Tensor:
    """Return the mean over all pixels. Shapes: (N, C, H, W) -> (N, C).

    Its gradient has the layout of x. That of `x.mean((2, 3))` is contiguous for any x, and a layer that meets two
    layouts in its backward pass is slow.
    """
    return x.permute(0, 2, 3, 1).mean((1, 2)) if is_channels_last(x) else x.mean((2, 3))


def every(x: Tensor, s: int) -> Tensor:
    """Return every s-th pixel, with a gradient in the layout of x. Shapes: (N, C, H, W) -> (N, C, H/s, W/s)."""
    if not is_channels_last(x):
        return x[:, :, ::s, ::s]
    return x.permute(0, 2, 3, 1)[:, ::s, ::s].permute(0, 3, 1, 2)


class GlobalAvgPool(nn.AdaptiveAvgPool2d):
    """`global_average` as a layer. Shapes: (N, C, H, W) -> (N, C, 1, 1)."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        return global_average(x)[:, :, None, None]
