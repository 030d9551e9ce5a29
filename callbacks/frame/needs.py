"""Declarations of tricks: claims, needs, refusals, and ranges of arguments.

A class lists its own `needs`, and inherits those of its bases. The frame checks arguments before the constructor runs,
and the rest in `setup`. `callbacks.frame.pairs` reads in the same declarations which tricks can train together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import nn

from callbacks.frame.schedule import Schedule, rate_values
from zoo import LossTrick
from zoo.frame.checks import validate_choice
from zoo.frame.run import callbacks_of
from zoo.frame.step import changes_loss


class Need:
    """Abstract: one requirement of a trick, with the error message for runs that do not meet it."""

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Refuse a value among the constructor's arguments. Raises ValueError.

        Args:
            name: the trick's class.
            arguments: what the constructor was called with, defaults included.
        """

    def check_run(self, trick: "Declaring", trainer: L.Trainer, model: L.LightningModule) -> None:
        """Refuse a model or other callbacks when a run begins. Raises TypeError or ValueError, with the cure."""


class Declaring(LossTrick):
    """A callback that declares its requirements; the frame checks them.

    Attributes:
        needs: see this file. A subclass lists its own; those of its bases are added.
        looks_only: changes nothing, so that its position in the list is free.
        changes_batch: changes images, or images and targets, before the network sees them.
        resizes: changes the size of images.
        drops_patches: removes patches from a transformer's sequence.
        makes_head: replaces the classifier by another layer.
        whole_weights: reads or copies weights or gradients as they are in one process, see `WholeWeights`.
        needs_labels: needs one label per image. A `Segmenter`, whose targets are masks, refuses it; it also refuses
            tricks that resize.
        one_label: needs probabilities of classes that sum to 1 (a softmax). Refused if images have several labels.
    """

    needs: ClassVar[tuple[Need, ...]] = ()
    looks_only: ClassVar[bool] = False
    changes_batch: ClassVar[bool] = False
    resizes: ClassVar[bool] = False
    drops_patches: ClassVar[bool] = False
    makes_head: ClassVar[bool] = False
    whole_weights: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    one_label: ClassVar[bool] = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        own = vars(cls).get("needs", ())
        given = [need for base in cls.__bases__ if issubclass(base, Declaring) for need in base.needs]
        if changes_loss(cls):
            given.append(CallsOnLoss())
        if cls.whole_weights:
            given.append(WholeWeights())
        cls.needs = tuple({_subject(need): need for need in (*given, *own)}.values())


def _subject(need: Need) -> tuple[type[Need], str]:
    """Return what a need is about: a subclass's range of an argument replaces its base's."""
    return type(need), getattr(need, "argument", "")


# ---- arguments


@dataclass(frozen=True)
class Range(Need):
    """Require a number between two bounds, or a `Schedule` or sequence of such numbers. None always passes.

    Args:
        argument: its name.
        low, high: the bounds, or the name of another argument.
        open_low, open_high: exclude the bound.
        off_at_low: exclude `low` for a number, because the trick does nothing there; a schedule may reach it.
    """

    argument: str
    low: float | str
    high: float | str = inf
    open_low: bool = False
    open_high: bool = False
    off_at_low: bool = False

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        if (given := arguments.get(self.argument)) is None:
            return
        low, high = (arguments[bound] if isinstance(bound, str) else bound for bound in (self.low, self.high))
        is_open = self.open_low or (self.off_at_low and not isinstance(given, Schedule))
        for value in values_of(given):
            above = low < value if is_open else low <= value
            if not (above and (value < high if self.open_high else value <= high)):
                cure = f"; to train without it, leave {name} out" if value == low else ""
                bounds = f"{'(' if is_open else '['}{low}, {high}{')' if self.open_high else ']'}"
                raise ValueError(f"{name}: {self.argument} must be in {bounds}, not {value}{cure}")


def values_of(given: Any) -> list[float]:
    """Return the numbers in an argument: the number itself, a schedule's values, or those of a sequence's parts."""
    if isinstance(given, list | tuple):
        return [value for part in given for value in values_of(part)]
    return rate_values(given)


@dataclass(frozen=True)
class Choice(Need):
    """Require one of several words.

    Args:
        argument: its name.
        among: the words.
        what: the owner of the words in the error message; empty: the trick.
    """

    argument: str
    among: Sequence[str]
    what: str = ""

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        if self.argument in arguments:
            validate_choice(arguments[self.argument], self.among, self.what or name)


# ---- the model


@dataclass(frozen=True)
class CallsOnLoss(Need):
    """Require a model whose `training_step` calls `on_loss`. Declared for every trick that defines `on_loss`."""

    def check_run(self, trick: Declaring, trainer: L.Trainer, model: L.LightningModule) -> None:
        if getattr(model, "calls_on_loss", False):
            return
        raise TypeError(
            f"{type(trick).__name__} changes the loss through `on_loss`, which {type(model).__name__} does not call. "
            "Wrap its network in zoo.Classifier(network); or in its training_step make step = zoo.Step(images, "
            "targets, logits, loss), call on_loss(self, step) of each callback that is a zoo.LossTrick, return "
            "step.loss, and set calls_on_loss = True on the class"
        )


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

    def check_run(self, trick: Declaring, trainer: L.Trainer, model: L.LightningModule) -> None:
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
    """

    def check_run(self, trick: "Declaring", trainer: L.Trainer, model: L.LightningModule) -> None:
        if isinstance(trainer.strategy, SHARDING):
            name, strategy = type(trick).__name__, type(trainer.strategy).__name__
            raise TypeError(
                f"{name} needs whole weights, and {strategy} keeps a part of them in each process: take "
                f"strategy='ddp', or take {name} out"
            )


# ---- other tricks


class PairNeed(Need):
    """Abstract: a requirement of a trick on the other tricks of the run."""

    @property
    def reason(self) -> str:
        """Say in a few words why two tricks cannot be in one run, whatever their order."""
        raise NotImplementedError

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        """Say why a trick with this need cannot train with another, listed `after` it or before it; None: it can."""
        raise NotImplementedError

    def check_run(self, trick: Declaring, trainer: L.Trainer, model: L.LightningModule) -> None:
        others = callbacks_of(trainer)
        place = next((i for i, other in enumerate(others) if other is trick), len(others))
        for i, other in enumerate(others):
            if i != place and (why := self.refuses(type(trick), type(other), after=i > place)):
                raise ValueError(why)


def needs_of(kind: type[L.Callback]) -> tuple[Need, ...]:
    """Return what a callback's class declares; nothing for callbacks that are no tricks."""
    return kind.needs if issubclass(kind, Declaring) else ()


def adds_to_loss(kind: type[L.Callback]) -> bool:
    """Return whether a callback adds a term to the loss, and neither replaces the loss nor only reads it."""
    looks = issubclass(kind, Declaring) and kind.looks_only
    return changes_loss(kind) and not looks and NothingAddedBefore() not in needs_of(kind)


@dataclass(frozen=True)
class Claims(PairNeed):
    """Claim an action that only one trick of a run can take: "set the learning rate"."""

    action: str

    @property
    def reason(self) -> str:
        return f"not both {self.action}"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if self not in needs_of(other):
            return None
        return f"{trick.__name__} and {other.__name__} both {self.action}: take one of them out"


@dataclass(frozen=True)
class NothingAddedBefore(PairNeed):
    """Require that no trick before it adds to the loss, because it replaces the cross-entropy."""

    reason = "one replaces the loss to which the other adds"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if after or not adds_to_loss(other):
            return None
        name = other.__name__
        return f"{trick.__name__} replaces the loss to which {name} has added: list it before {name}"


@dataclass(frozen=True)
class NoBatchChangedAfter(PairNeed):
    """Require that no trick after it changes the batch, because it compares two passes of the same images."""

    reason = "one compares two passes of the same images, which the other changes"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if not after or not issubclass(other, Declaring) or not other.changes_batch:
            return None
        return (
            f"{trick.__name__} compares two passes of the same images, and {other.__name__} would change them one by "
            f"one: list {trick.__name__} after {other.__name__}"
        )


@dataclass(frozen=True)
class NoHeadMadeAfter(PairNeed):
    """Require that no trick after it makes a new head, because it keeps parts of the present head."""

    reason = "one keeps parts of the head, which the other replaces"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if not after or not issubclass(other, Declaring) or not other.makes_head:
            return None
        return f"{other.__name__} makes a new head: list {trick.__name__} after it"


@dataclass(frozen=True)
class EveryPatch(PairNeed):
    """Require all patches of the student: refuse tricks that drop some."""

    reason = "one needs every patch, the other takes some out"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if not issubclass(other, Declaring) or not other.drops_patches:
            return None
        return f"{trick.__name__} needs every patch, and {other.__name__} takes some out: take one of the two out"


@dataclass(frozen=True)
class OneImageSize(PairNeed):
    """Require images of the network's own size: refuse tricks that change it."""

    reason = "one needs images of one size, the other changes it"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if not issubclass(other, Declaring) or not other.resizes:
            return None
        return f"{trick.__name__} needs images of one size, and {other.__name__} changes it: take one of the two out"
