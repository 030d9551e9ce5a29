"""Seeds of random draws: one hash of whole numbers, the same on every device, rank and machine.

Splitmix64 (Steele, Lea, Flood; OOPSLA 2014). `datamodules.frame.order`, which imports no other package, repeats it; a
test compares the two.
"""

import os

import torch
from torch import Tensor

GOLD, MUL1, MUL2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # increment, multipliers
MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """Hash a list of integers into one of 64 bits; two different lists hardly ever share one."""
    state = 0
    for value in values:
        state = (state + value + GOLD) & MASK
        state = ((state ^ (state >> 30)) * MUL1) & MASK
        state = ((state ^ (state >> 27)) * MUL2) & MASK
        state ^= state >> 31
    return state


def mix_text(text: str) -> int:
    """Hash a text into an integer of 64 bits, which is the same in every process, unlike Python's `hash`."""
    return mix(*text.encode())


def draws(key: Tensor, count: int) -> Tensor:
    """Return uniform numbers determined by an integer, the same on every device.

    Args:
        key: an integer, ().
        count: number of draws.

    Returns:
        (count,) float32 in [0, 1), of 24 random bits each.
    """
    state = key + _to_signed(GOLD) * torch.arange(1, count + 1, device=key.device)
    for shift, factor in ((30, MUL1), (27, MUL2)):
        state = (state ^ _shift(state, shift)) * _to_signed(factor)
    return _shift(state ^ _shift(state, 31), 40) / 2.0**24


def _to_signed(number: int) -> int:
    """Return the int64 with the same bits as an unsigned number."""
    return number - (1 << 64) if number >> 63 else number


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift int64 to the right as if it had no sign."""
    return x >> bits & (1 << (64 - bits)) - 1


def reseed(seed: int, device: torch.device) -> None:
    """Do the same as `torch.manual_seed` for the CPU and one device, at a hundredth of its cost.

    torch's own formats a stack trace for every kind of device that is not in use: .1 to 1 ms at every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def global_seed() -> int:
    """Return the seed of `seed_everything`, else 0; it is the same on every rank."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))
