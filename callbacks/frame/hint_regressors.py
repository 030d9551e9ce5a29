"""Regressors from a student's features to a teacher's: one layer for each stage, built for measured shapes."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.feature_hooks import FeatureHooks
from callbacks.frame.unsaved_parameters import UnsavedParameters, without_hooks
from zoo.frame.seeds import global_seed, mix

Shapes = Mapping[str, torch.Size]


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


class Regressors(UnsavedParameters):
    """The regressors of some stages, trained as part of a model until `detach`.

    Args:
        parts: by the name of the stage.
        name: the attribute of the model.
    """

    def __init__(self, parts: dict[str, nn.Module], name: str):
        super().__init__(parts, name)
        self.name = name

    @classmethod
    def attach(cls, model: L.LightningModule, v: Shapes, u: Shapes) -> "Regressors":
        """Make a regressor for each stage of v, drawn from the run's seed alone: a second fit starts like the first.

        Args:
            model: the student.
            v: shapes of its features, by stage.
            u: shapes of the teacher's.
        """
        i = next(i for i in count() if not hasattr(model, f"hints{i}"))
        name = f"hints{i}"
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mix(global_seed(), len(name), i))
            regressors = cls({stage: regressor(v[stage], u[stage]) for stage in v}, name)
        model.add_module(name, regressors.to(device_of(model)))
        return regressors

    def detach(self, model: nn.Module) -> None:
        """Remove the regressors from the model."""
        if getattr(model, self.name, None) is self:
            delattr(model, self.name)

    def predict(self, v: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return r(v) of each stage."""
        return {stage: r(v[stage]) for stage, r in self.parts.items()}

    def zero(self) -> Tensor:
        """Return 0 as a function of all parameters: DDP raises an error for those without a gradient."""
        return 0 * torch.stack([p.sum() for p in self.parameters()]).sum()


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
