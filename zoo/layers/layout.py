"""Memory layout of maps: channels last (NHWC) stays channels last."""

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Say whether maps (N, C, H, W) lie in memory with their channels last, and in no other way."""
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def laid_out_as(y: Tensor, x: Tensor) -> Tensor:
    """Return the maps y in the layout of the maps x. A copy only where they differ."""
    return y.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else y
