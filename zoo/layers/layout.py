"""Memory layout of maps: channels last (NHWC) stays channels last."""

import torch
from torch import Tensor
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
