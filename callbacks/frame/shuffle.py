"""Reorder a batch."""

from torch import Tensor


def shuffle(x: Tensor, perm: Tensor) -> Tensor:
    """Return x[perm] in the memory layout of x: images (N, C, H, W) or parts of them, or targets (N, K).

    On a CPU, `index_select` takes a third of the time of indexing, but it loses the channels_last layout.
    """
    return x[perm] if x.ndim == 4 and x.stride(1) == 1 else x.index_select(0, perm)
