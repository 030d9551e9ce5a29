"""The probability with which an image, or a batch, is changed."""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.schedule import Rate, rate_now
from zoo.frame.seeds import mix


def choose_images(p: Rate, trainer: L.Trainer, images: Tensor) -> Tensor:
    """Which of the images (N, ...), each with probability p: bool (N,), on their device."""
    return torch.rand(len(images), device=images.device) < rate_now(p, trainer)


COIN = 0x4D5744  # "MWD": other draws from (seed, step) are not these


def is_drawn(seed: int, step: int, participation: float) -> bool:
    """Whether a step is one of those at which a trick of this participation acts."""
    return mix(seed, step, COIN) / 2**64 < participation
