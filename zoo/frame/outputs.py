"""What a network gives: logits of one view or the mean of several, and what it adds to them in training."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Outputs = Tensor | tuple[Tensor, dict[str, Any]]  # logits (N, K), or (logits, extras) in training


def split_outputs(outputs: Any) -> tuple[Tensor, dict[str, Any]]:
    """Split what a network gave into logits and extras.

    Args:
        outputs: logits; `(logits, extras)`; or a dict or named tuple with "logits", or torchvision's "out", whose "aux"
            counts half in the loss, as in torchvision's training.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(outputs, Tensor):
        return outputs, {}
    if isinstance(outputs, tuple) and len(outputs) == 2 and isinstance(outputs[1], dict):
        return outputs
    named = outputs._asdict() if hasattr(outputs, "_asdict") else outputs
    if isinstance(named, Mapping) and (name := next((name for name in ("logits", "out") if name in named), None)):
        extras = {key: value for key, value in named.items() if key != name}
        if isinstance(extras.get("aux"), Tensor):
            extras["aux"] = [(0.5, extras["aux"])]
        return named[name], extras
    raise TypeError(
        f"the network gives {_described(outputs)}: it must give logits, (logits, dict of extras), or a dict or named "
        "tuple with 'logits'"
    )


def _described(outputs: Any) -> str:
    kind = type(outputs).__name__
    if isinstance(outputs, Mapping):
        return f"a {kind} of {', '.join(map(str, outputs))}"
    return f"a {kind} of {len(outputs)}" if isinstance(outputs, tuple | list) else f"a {kind}"


def over_views(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Logits (N, K) of images (N, C, H, W); of V views each, (N, V, C, H, W), the logarithm of their mean softmax.

    So the softmax of what comes out is the mean of the views' softmaxes, and its cross-entropy that mean's. One view
    at a time: the batch is no larger than without.
    """
    if images.ndim == 4:
        return split_outputs(network(images))[0]
    views = [split_outputs(network(view))[0].float().log_softmax(1) for view in images.unbind(1)]
    return torch.stack(views).logsumexp(0) - math.log(len(views))
