"""Loss, probabilities and checks for one label an image, or several."""

from collections.abc import Callable, Iterable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from zoo.frame.outputs import over_views, split_outputs


def loss_of(logits: Tensor, targets: Tensor, multi_label: bool) -> Tensor:
    """Return the cross-entropy, a scalar; for several labels, the mean of K binary ones, targets (N, K) in [0, 1]."""
    if multi_label:
        return F.binary_cross_entropy_with_logits(logits.float(), targets.float())
    return F.cross_entropy(logits, targets)


def probabilities_of(logits: Tensor, multi_label: bool) -> Tensor:
    """Return probabilities (N, K), float32: a softmax, or for several labels K sigmoids."""
    return logits.float().sigmoid() if multi_label else logits.float().softmax(1)


def logits_over_views(network: Callable[[Tensor], Any], images: Tensor, multi_label: bool) -> Tensor:
    """Return logits (N, K) whose probabilities are the mean over the views of images (N, V, C, H, W)."""
    if images.ndim == 4 or not multi_label:
        return over_views(network, images)
    views = [split_outputs(network(view))[0].float().sigmoid() for view in images.unbind(1)]
    return (sum(views[1:], start=views[0]) / len(views)).logit(eps=1e-7)


def check_labels(targets: Tensor, num_classes: int) -> None:
    """Refuse targets that are not (N, K) with K numbers in [0, 1]. Raises ValueError."""
    if targets.ndim != 2 or targets.shape[1] != num_classes or not targets.is_floating_point():
        got = f"{targets.dtype} {tuple(targets.shape)}"
        raise ValueError(
            f"targets with several labels per image must be float (N, {num_classes}) of 0 and 1, got {got}"
        )


def refuse_one_label(model: Any, callbacks: Iterable[Any]) -> None:
    """Refuse a trick that needs one label an image. Raises TypeError."""
    for trick in callbacks:
        if getattr(trick, "needs_labels", False) or getattr(trick, "one_label", False):
            name = type(trick).__name__
            raise TypeError(f"{name} needs one label an image, and the data of this run has several: take {name} out")
