"""A self-organizing map with a distribution over its places for each class: a memory of what classes look like."""

from typing import NamedTuple

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor


class Memory(NamedTuple):
    """L places on a square grid.

    Attributes:
        keys: (L, D), unit rows: centres in the space of features.
        values: (L, K), how often each class is found at each place; columns sum to 1.
    """

    keys: Tensor
    values: Tensor


def neighbours(side: int, sigma: float, device: torch.device) -> Tensor:
    """Return G (L, L): a Gaussian of the distance between two places of the grid, L = side^2; rows sum to 1."""
    place = torch.arange(side * side, device=device)
    at = torch.stack([place // side, place % side], 1).float()
    return (-(at[:, None] - at).square().sum(2) / (2 * sigma**2)).softmax(1)


def first(trainer: L.Trainer, h: Tensor, places: int, classes: int) -> Memory:
    """Return a memory whose keys are features of h (M, D), evenly spaced, and whose classes are found everywhere.

    All ranks get the keys of the first one.
    """
    chosen = torch.arange(places, device=h.device) * len(h) // places
    keys = F.normalize(h[chosen])
    if trainer.world_size > 1:
        keys = trainer.strategy.broadcast(keys).to(h)  # comes with the first one's device
    return Memory(keys, h.new_full((places, classes), 1 / places))


def winners(h: Tensor, keys: Tensor, near: Tensor) -> Tensor:
    """Return the place of each feature (M, D), (M,): where the mean similarity over the neighbourhood is largest."""
    return (F.normalize(h) @ keys.T @ near.T).argmax(1)


def move(keys: Tensor, g: Tensor, pull: Tensor) -> Tensor:
    """Move keys towards features, and normalise them.

    Args:
        keys: (L, D).
        g: features (B, D).
        pull: (B, L), >= 0. Where the sum over features is above 1, it is scaled to 1, so that no key overshoots.
    """
    total = pull.sum(0)[:, None]
    step = (pull.T @ F.normalize(g) - total * keys) / total.clamp(min=1)
    return F.normalize(keys + step)


def count(values: Tensor, found: Tensor, rate: Tensor) -> Tensor:
    """Average what is found into the classes' distributions: V_c <- V_c + sum_b rate_bc (found_b - |found_b| V_c).

    Args:
        values: V (L, K).
        found: (B, L), >= 0; rows are distributions over places, times how much of the feature there is, in [0, 1].
        rate: (B, K), >= 0. Where the sum over features is above 1, it is scaled to 1.
    """
    rate = rate / (found.sum(1) @ rate).clamp(min=1)
    return values * (1 - found.sum(1) @ rate) + found.T @ rate
