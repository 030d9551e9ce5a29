"""The probability with which an image, or a batch, is changed."""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.schedule import Rate, rate_now, rate_values
from zoo.frame.exact_resume import mix


def needs_chance(trick: L.Callback, name: str, p: Rate) -> None:
    """Refuses a probability outside (0, 1], or a schedule that leaves [0, 1]."""
    if not all(0 <= value <= 1 for value in rate_values(p)) or p == 0:
        kind = type(trick).__name__
        raise ValueError(f"{kind}: {name} must be in (0, 1], got {p}; to train without it, leave {kind} out")


def chosen(p: Rate, trainer: L.Trainer, images: Tensor) -> Tensor:
    """Which of the images (N, ...), each with probability p: bool (N,), on their device."""
    return torch.rand(len(images), device=images.device) < rate_now(p, trainer)


COIN = 0x4D5744  # "MWD": other draws from (seed, step) are not these


def is_drawn(seed: int, step: int, participation: float) -> bool:
    """Whether a step is one of those at which a trick of this participation acts."""
    return mix(seed, step, COIN) / 2**64 < participation
