"""Declarations of tricks about the model and its strategy, and its stages by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import nn

from callbacks.frame.needs import Need
from zoo.frame.checks import validate_choice


@dataclass(frozen=True)
class CallsOnLoss(Need):
    """Require a model whose `training_step` calls `on_loss`. Declared for every trick that defines `on_loss`."""

    def check_run(self, trick: L.Callback, trainer: L.Trainer, model: L.LightningModule) -> None:
        if getattr(model, "calls_on_loss", False):
            return
        raise TypeError(
            f"{type(trick).__name__} changes the loss through `on_loss`, which {type(model).__name__} does not call. "
            "Wrap its network in zoo.Classifier(network); or in its training_step make step = zoo.Step(images, "
            "targets, logits, loss), call on_loss(self, step) of each callback that is a zoo.LossTrick, return "
            "step.loss, and set calls_on_loss = True on the class"
        )


@dataclass(frozen=True)
class HasBoxes(Need):
    """Require a model whose targets are boxes. Declared for every trick with `needs_boxes`."""

    def check_run(self, trick: L.Callback, trainer: L.Trainer, model: L.LightningModule) -> None:
        if getattr(model, "task", "") != "detection":
            name, kind = type(trick).__name__, type(model).__name__
            raise TypeError(f"{name} needs boxes, and {kind} has none: train a zoo.Detector, or take {name} out")


@dataclass(frozen=True)
class HasModule(Need):
    """Require a network with a module of some kind, on which the trick works.

    Args:
        is_one: whether a module is of that kind.
        what: what the trick does with it, in the words of the error message: "acts on experts".
        cure: what to do without one.
    """

    is_one: Callable[[nn.Module], bool]
    what: str
    cure: str

    def check_run(self, trick: L.Callback, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.find(trick, model)

    def find(self, trick: L.Callback, model: nn.Module) -> nn.Module:
        """Return the first such module. Raises TypeError, with the cure, for a model without one."""
        for module in model.modules():
            if self.is_one(module):
                return module
        network = getattr(model, "network", model)
        name = type(network).__name__
        raise TypeError(f"{type(trick).__name__} {self.what}, and {name} has none: {self.cure}")


def stage_names(trick: L.Callback, model: Any, names: Sequence[str] | None) -> list[str]:
    """Return the stages asked for, or all that the model has.

    Raises:
        TypeError: for a model without stages.
        ValueError: for a name that it does not have.
    """
    there = [*getattr(model, "stages", {}).keys()]  # a `Stages` iterates over its modules
    if not there:
        raise TypeError(
            f"{type(trick).__name__} looks at stages, and {type(model).__name__} names none: "
            "zoo.Classifier(network, stages={'stage1': 'path.of.module', ...})"
        )
    return there if names is None else [validate_choice(name, there, type(model).__name__) for name in names]


def stages_of(model: nn.Module) -> Mapping[str, nn.Module]:
    """Return the modules that a model names as its stages, by name, in order. Raises AttributeError if it has none."""
    stages: Mapping[str, nn.Module] = model.stages  # type: ignore[assignment]  # torch: a tensor or a module
    return stages


SHARDING = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


@dataclass(frozen=True)
class WholeWeights(Need):
    """Require whole weights and gradients in every process: refuse strategies that shard them.

    With shards, and without any error, `p.norm().item()` is the norm of a shard, a copy in a checkpoint is a shard, and
    `functional_call` uses the network's own weights instead of those that it is given.

    Args:
        in_parts: works with weights in parts as `ModelParallelStrategy` keeps them, and so refuses the others alone.
    """

    in_parts: bool = False

    def check_run(self, trick: L.Callback, trainer: L.Trainer, model: L.LightningModule) -> None:
        strategy, name = trainer.strategy, type(trick).__name__
        if not isinstance(strategy, SHARDING) or (self.in_parts and isinstance(strategy, ModelParallelStrategy)):
            return
        others = "ModelParallelStrategy or strategy='ddp'" if self.in_parts else "strategy='ddp'"
        given = next(kind.__name__ for kind in SHARDING if isinstance(strategy, kind))
        raise TypeError(
            f"{name} needs whole weights, and {given} keeps a part of them in each process: take "
            f"{others}, or take {name} out"
        )
