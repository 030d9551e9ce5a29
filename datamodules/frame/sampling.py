"""Unbalanced classes: sample the same number of images of each class, or weight the loss."""

import torch
from torch import Tensor

from datamodules.frame.split import order_by_class


def balanced_length(targets: Tensor, sampling: str) -> int:
    """Return the number of images in an epoch of `balance`."""
    sizes = targets.bincount()
    sizes = sizes[sizes > 0]
    return len(sizes) * int(sizes.max() if sampling == "over" else sizes.min())


def balance(targets: Tensor, sampling: str, seed: int) -> tuple[Tensor, Tensor]:
    """Choose the same number of images of each class, sorted by class; empty classes stay empty.

    Args:
        targets: (n,) int64, the classes.
        sampling: "over": as many as in the largest class; the images of a class come equally often, and some, chosen at
            random, once more. "under": as many as in the smallest class, chosen at random, each once.
        seed: of the choice.

    Returns:
        Indices into `targets`, and the number of the copy, from 0. Both (balanced_length,) int64.
    """
    by_class, position, size = order_by_class(targets, seed)
    if sampling == "under":
        chosen = by_class[position < size.min()]
        return chosen, torch.zeros_like(chosen)
    times = (size.max() - position + size - 1) // size
    copy = torch.arange(int(times.sum())) - (times.cumsum(0) - times).repeat_interleave(times)
    return by_class.repeat_interleave(times), copy


def class_weights(counts: Tensor, kind: str, beta: float, classes: tuple[str, ...]) -> Tensor:
    """Return weights (K,) float32 for classes with `counts` (K,) images; arguments and errors as in `ImageData`."""
    if kind not in ("balanced", "effective"):
        raise ValueError(f'class_weights: kind must be "balanced" or "effective", not {kind!r}')
    if not 0 <= beta < 1:
        raise ValueError(f"class_weights: beta must be in [0, 1), got {beta}")
    if empty := [classes[k] for k in (counts == 0).nonzero()[:, 0].tolist()]:
        raise ValueError(f"class_weights need training images of every class, there are none of {', '.join(empty[:5])}")
    return (balanced_weights(counts) if kind == "balanced" else effective_weights(counts, beta)).float()


def balanced_weights(counts: Tensor) -> Tensor:
    """Return n / (K n_k): all classes have the same total weight, and the mean over images is 1."""
    return counts.sum() / (len(counts) * counts.double())


def effective_weights(counts: Tensor, beta: float) -> Tensor:
    """Return (1 - beta) / (1 - beta^n_k), scaled to a sum of K.

    Paper: Class-Balanced Loss Based on Effective Number of Samples (Cui et al.; CVPR 2019),
    https://arxiv.org/abs/1901.05555, equation 4; the scale is that of the authors' code,
    https://github.com/richardaecn/class-balanced-loss.

    Args:
        counts: (K,) images of each class, none zero.
        beta: in [0, 1): 0 gives all classes the same weight; towards 1 the weights approach those of
            `balanced_weights`, up to the scale.
    """
    weights = (1 - beta) / (1 - beta ** counts.double())
    return weights * len(counts) / weights.sum()
