"""Parts of masks: draws, ranks, rounding and scales, equal at any precision and in compiled networks."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def scale_by_rate(kept: Tensor, p: float) -> Tensor:
    """Divide a mask by 1 - p. If each feature is dropped with probability p, this keeps the expectation."""
    return kept / (1 - p)


def scale_by_count(kept: Tensor) -> Tensor:
    """Divide a mask by the fraction of kept features, over all examples together; return zeros if none is kept."""
    return kept * (kept.numel() / kept.sum(dtype=torch.float32).clamp_min(1))


def float32(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context without autocast on the device of x.

    It is entered only where autocast is on: entering takes longer than a small mask.
    """
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def draws(x: Tensor, *shape: int) -> Tensor:
    """Draw from U[0, 1) in float32, so that the numbers do not depend on the precision of x."""
    return torch.rand(shape, dtype=torch.float32, device=x.device)


def per_channel(x: Tensor) -> tuple[int, ...]:
    """Return the shape of one draw per channel: (N, C, 1, 1) for maps, (N, 1, D) for tokens, (N, D) for vectors."""
    return (x.shape[0], 1, x.shape[2]) if x.ndim == 3 else (*x.shape[:2], *[1] * (x.ndim - 2))


def largest_mask(score: Tensor, count: float, least: int = 0) -> Tensor:
    """Mark the largest numbers of each row: max(floor(count), least) of them.

    `count` is compared, not rounded, so that a compiled network is not compiled again for every rate.

    Args:
        score: (N, n).
        count: how many numbers are marked, rounded down.
        least: smallest number of marks.

    Returns:
        Booleans (N, n).
    """
    rank = ranks(score)
    return (rank <= count - 1 + 1e-6) | (rank < least)


def round_half_even(count: float, like: Tensor) -> Tensor:
    """Round half to even, as Python's `round`.

    The result is a tensor, so that a compiled network is not compiled again for every rate.
    """
    return (torch.zeros((), dtype=torch.float32, device=like.device) + count).round()


def ranks(score: Tensor) -> Tensor:
    """Return each number's rank in its row (N, n), 0 for the largest; equal numbers keep their order."""
    order = score.sort(dim=1, descending=True, stable=True).indices
    rank = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, rank)
