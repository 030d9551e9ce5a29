"""Probabilities of units by their group: k-means of their responses, and a rate for each group."""

import torch
from torch import Tensor

from callbacks.frame.needs import Range

RANGES = (
    Range("high", 0, 1, open_low=True, open_high=True),
    Range("low", 0, "high"),
    Range("decay", 0, 1, open_high=True),
    Range("clusters", 2),
    Range("every", 1),
)  # of the arguments that tricks with such groups share
ROUNDS = 20  # of k-means: a few are enough in one dimension, from quantiles


def clusters(r: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Group numbers by k-means, which starts from quantiles.

    Args:
        r: (D,).
        k: number of groups.

    Returns:
        The group of each number, (D,), and the means of the groups, (k,).
    """
    centres = r.quantile((torch.arange(k, device=r.device) + 0.5) / k)
    for _ in range(ROUNDS):
        member = ((r[:, None] - centres).abs().argmin(1, keepdim=True) == torch.arange(k, device=r.device)).to(r.dtype)
        count = member.sum(0)
        centres = torch.where(count > 0, (member * r[:, None]).sum(0) / count.clamp_min(1), centres)
    return (r[:, None] - centres).abs().argmin(1), centres


def unit_rates(r: Tensor, k: int, low: float, high: float) -> Tensor:
    """Return each unit's probability to be dropped, p of the equation.

    Args:
        r: responses (D,).
        k: number of groups.
        low: probability in the group with the largest responses.
        high: probability in the group with the smallest responses.

    Returns:
        (D,).
    """
    label, centres = clusters(r, k)
    g = centres[label]
    span = g.max() - g.min()
    weakness = torch.where(span > 0, (g.max() - g) / span.clamp_min(torch.finfo(g.dtype).tiny), 0.5)
    return low + (high - low) * weakness
