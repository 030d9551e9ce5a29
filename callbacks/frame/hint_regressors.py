"""Regressors from a student's features to a teacher's: one layer for each stage, made for shapes that are measured."""

from typing import Any

import torch
from torch import Tensor, nn

from callbacks.frame.feature_hooks import FeatureHooks
from callbacks.frame.unsaved_parameters import without_hooks


def regressor(v: torch.Size, u: torch.Size) -> nn.Module:
    """Return a layer from features of shape v to features of shape u, both (N, C, H, W) or both (N, L, D).

    Raises:
        ValueError: if one has maps and the other tokens.
    """
    if len(v) != len(u):
        raise ValueError(f"Hints: the student's features are {tuple(v)}, the teacher's {tuple(u)}: take other stages")
    if len(v) < 4:
        return nn.Linear(v[-1], u[-1])
    height, width = (max(1, mine - theirs + 1) for mine, theirs in zip(v[2:], u[2:], strict=True))
    return nn.Conv2d(v[1], u[1], (height, width))


def dry_run(network: Any, names: list[str], images: Tensor) -> tuple[dict[str, torch.Size], list[nn.Parameter]]:
    """Measure the features of some stages.

    Args:
        network: a network with `stages`.
        names: of the stages.
        images: a batch to measure with, (N, C, H, W).

    Returns:
        The shape of each stage's features, and the trained parameters that the features do not depend on.
    """
    with without_hooks(network, training=False), torch.enable_grad():
        hooks = FeatureHooks(network.stages, names)
        network(images)
        features = hooks.take()
        hooks.remove()
    trained = [p for p in network.parameters() if p.requires_grad]
    end = torch.stack([feature.float().sum() for feature in features.values()]).sum()
    reached = torch.autograd.grad(end, trained, allow_unused=True) if trained else []
    rest = [p for p, gradient in zip(trained, reached, strict=True) if gradient is None]
    return {name: features[name].shape for name in names}, rest


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's parameters; the CPU if it has none."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))
