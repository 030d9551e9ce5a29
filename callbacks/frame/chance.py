"""Decide at random which images a trick changes, and at which steps it acts."""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.schedule import Rate, rate_now
from zoo.frame.seeds import mix


def choose_images(p: Rate, trainer: L.Trainer, images: Tensor) -> Tensor:
    """Choose each of the images (N, ...) with probability p: bool (N,), on their device."""
    return torch.rand(len(images), device=images.device) < rate_now(p, trainer)


COIN = 0x4D5744  # "MWD": separates these draws from others made of (seed, step)


def is_drawn(seed: int, step: int, participation: float) -> bool:
    """Return whether a trick with this participation acts at a step."""
    return mix(seed, step, COIN) / 2**64 < participation
