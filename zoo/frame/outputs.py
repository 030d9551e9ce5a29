"""Read a network's output: logits of one view or the mean over several, and its extras in training."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Outputs = Tensor | tuple[Tensor, dict[str, Any]]  # logits (N, K), or (logits, extras) in training


def split_outputs(outputs: Any) -> tuple[Tensor, dict[str, Any]]:
    """Split a network's output into logits and extras.

    Args:
        outputs: logits; `(logits, extras)`; or a dict or named tuple with "logits", or torchvision's "out", whose "aux"
            counts half in the loss, as in torchvision's training.

    Raises:
        TypeError: the output is something else.
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
        f"the network gives {_describe(outputs)}: it must give logits, (logits, dict of extras), or a dict or named "
        "tuple with 'logits'"
    )


def _describe(outputs: Any) -> str:
    kind = type(outputs).__name__
    if isinstance(outputs, Mapping):
        return f"a {kind} of {', '.join(map(str, outputs))}"
    return f"a {kind} of {len(outputs)}" if isinstance(outputs, tuple | list) else f"a {kind}"


def over_views(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return logits (N, K) of images (N, C, H, W); of V views, (N, V, C, H, W), the logarithm of their mean softmax.

    The softmax of the result is the mean of the views' softmaxes. Views run one at a time, which saves memory.
    """
    if images.ndim == 4:
        return split_outputs(network(images))[0]
    views = [split_outputs(network(view))[0].float().log_softmax(1) for view in images.unbind(1)]
    return torch.stack(views).logsumexp(0) - math.log(len(views))
