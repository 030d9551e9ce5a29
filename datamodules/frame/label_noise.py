"""Plant wrong labels in training data, to see what a method makes of them.

Definitions of the literature differ. Here exactly int(r n) labels are wrong, never by chance right, and a larger share
has the wrong labels of a smaller one. "20 % symmetric" of Co-teaching (https://github.com/bhanML/Co-teaching) is r = .2
on average; that of DivideMix (https://github.com/LiJunnan1992/DivideMix) draws the own class too, so r = .18 for 10
classes; "40 % asymmetric" on CIFAR-10 (Patrini et al. 2017, https://arxiv.org/abs/1609.03683) is .4 of five classes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from datamodules.frame.choices import validate_choice
from datamodules.frame.order import draws, epoch_key

KINDS = ("symmetric", "pair", "asymmetric")
NOISE = 0x4E4F495345  # "NOISE": separates these draws from others made of (seed, index)


def check_noise(rate: float, kind: str) -> None:
    """Raise a ValueError for a share outside [0, 1), or an unknown kind."""
    if not 0 <= rate < 1:
        raise ValueError(f"label_noise must be in [0, 1), got {rate}")
    validate_choice(kind, KINDS, "kinds of label noise")


def others_of(classes: Sequence[str], confusions: Mapping[str, str], kind: str) -> Tensor:
    """Return the class that each class is taken for, (K,) int64; its own if it is never confused.

    Args:
        classes: names.
        confusions: name -> name that it is taken for, for "asymmetric".
        kind: "pair" or "asymmetric".

    Raises:
        ValueError: the data names no confusions.
    """
    if kind == "pair":
        return (torch.arange(len(classes)) + 1) % len(classes)
    if not confusions:
        raise ValueError('this data names no classes that are taken for each other: choose noise_kind="symmetric"')
    return torch.tensor([classes.index(confusions.get(name, name)) for name in classes])


def plant(targets: Tensor, rate: float, others: Tensor | None, num_classes: int, seed: int) -> Tensor:
    """Return labels of which some are wrong: a function of (seed, index, label), whatever the order of the draws.

    Args:
        targets: (n,) int64, the true classes; not changed.
        rate: r, the share of wrong labels, in [0, 1), of the images whose class can be confused.
        others: (K,) the class that each is taken for; None: any other, with equal probability ("symmetric").
        num_classes: K.
        seed: of the draws.
    """
    u = draws(torch.arange(len(targets)), 2, epoch_key(seed, NOISE))
    any_other = (targets + 1 + (u[:, 1] * (num_classes - 1)).long()) % num_classes
    wrong = any_other if others is None else others[targets]
    can = (wrong != targets).nonzero()[:, 0]
    chosen = can[u[can, 0].argsort(stable=True)[: int(rate * len(can))]]
    noisy = targets.clone()
    noisy[chosen] = wrong[chosen]
    return noisy
