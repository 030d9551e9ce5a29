"""What a network gives: logits of one view or the mean of several, and what it adds to them in training."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Outputs = Tensor | tuple[Tensor, dict[str, Any]]  # logits (N, K), or (logits, extras) in training


def split_outputs(outputs: Tensor | tuple[Any, ...]) -> tuple[Tensor, dict[str, Any]]:
    """Split what a network gave, logits, `(logits, extras)` or torchvision's named tuple, into logits and extras."""
    if isinstance(outputs, Tensor):
        return outputs, {}
    if hasattr(outputs, "_asdict"):
        extras = dict(outputs._asdict())
        return extras.pop("logits"), extras
    logits, extras = outputs
    return logits, extras


def over_views(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Logits (N, K) of images (N, C, H, W); of V views each, (N, V, C, H, W), the logarithm of their mean softmax.

    So the softmax of what comes out is the mean of the views' softmaxes, and its cross-entropy that mean's. One view
    at a time: the batch is no larger than without.
    """
    if images.ndim == 4:
        return network(images)
    views = [network(view).float().log_softmax(1) for view in images.unbind(1)]
    return torch.stack(views).logsumexp(0) - math.log(len(views))
