"""The batch in another order."""

from torch import Tensor


def shuffle(x: Tensor, perm: Tensor) -> Tensor:
    """x[perm], of images (N, C, H, W), or parts of them, or targets (N, K): the same numbers in the same layout.

    `index_select` takes a third of the time, on a processor, but forgets the layout of channels_last.
    """
    return x[perm] if x.ndim == 4 and x.stride(1) == 1 else x.index_select(0, perm)
