"""Replace the head for another number of classes: the last linear layer, or 1x1 convolution."""

from typing import TypeGuard

from torch import nn


def new_head(network: nn.Module, num_classes: int) -> nn.Module:
    """Replace the head of a network, in place, by a new one for K classes; all other weights stay.

    timm's networks use their own `reset_classifier`. In others, the head is the last linear layer or 1x1 convolution.

    Args:
        network: returns logits (N, any K).
        num_classes: K, >= 1.

    Returns:
        The network.

    Raises:
        TypeError: the network has no such layer.
    """
    if hasattr(network, "reset_classifier"):
        network.reset_classifier(num_classes)  # type: ignore[operator]  # a method of timm's
        return network
    path, old = _last_layer(network)
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, _like(old, num_classes))
    return network


def _last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    found: list[tuple[str, nn.Linear | nn.Conv2d]] = [
        (path, m) for path, m in network.named_modules() if isinstance(m, nn.Linear) or _is_pointwise(m)
    ]
    if not found:
        raise TypeError(f"{type(network).__name__} has no linear layer to take for its head: replace its head yourself")
    return found[-1]


def _is_pointwise(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1


def _like(old: nn.Linear | nn.Conv2d, num_classes: int) -> nn.Module:
    weight, bias = old.weight, old.bias is not None
    if isinstance(old, nn.Linear):
        return nn.Linear(weight.shape[1], num_classes, bias, weight.device, weight.dtype)
    return nn.Conv2d(weight.shape[1], num_classes, 1, bias=bias, device=weight.device, dtype=weight.dtype)
