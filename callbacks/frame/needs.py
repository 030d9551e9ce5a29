"""What a trick declares: what it claims, needs and refuses, and the ranges of its arguments.

A class lists its own `needs`; those of its bases hold too. The frame checks arguments before the constructor runs and
the rest in `setup`; `callbacks.frame.pairs` reads from the same declarations which tricks go together.
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
    """Abstract: one thing that a trick needs, with the sentence that says so where it is missing."""

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Refuse a value among the constructor's arguments. Raises ValueError.

        Args:
            name: the trick's class.
            arguments: what the constructor was called with, defaults included.
        """

    def check_run(self, trick: "Declaring", trainer: L.Trainer, model: L.LightningModule) -> None:
        """Refuse a model or other callbacks when a run begins. Raises TypeError or ValueError, with the cure."""


class Declaring(LossTrick):
    """A callback that says about itself what the frame checks and which others it goes with.

    Attributes:
        needs: see this file. A subclass lists its own; those of its bases are added.
        looks_only: changes nothing, so that its place among the others is free.
        changes_batch: changes images, or images and targets, before the network sees them.
        resizes: changes the size of images.
        drops_patches: takes patches out of a transformer.
        makes_head: puts another layer in the classifier's place.
        whole_weights: reads or copies weights or gradients as they are in one process, see `WholeWeights`.
        needs_labels: counts on one label an image; a `Segmenter`, which has masks, refuses it, and those that resize.
        one_label: takes probabilities of classes that sum to 1, a softmax's; refused where images have several labels.
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
    """Return what a need is about: a subclass's range of an argument takes the place of its base's."""
    return type(need), getattr(need, "argument", "")


# ---- arguments


@dataclass(frozen=True)
class Range(Need):
    """A number between two bounds; so are all values of a `Schedule`, or of a sequence. None always passes.

    Args:
        argument: its name.
        low, high: the bounds, or the name of another argument.
        open_low, open_high: exclude the bound.
        off_at_low: excludes `low` for a number, as the trick does nothing there; a schedule may pass through it.
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
    """Return the numbers that an argument stands for: itself, a schedule's, or those of each part of a sequence."""
    if isinstance(given, list | tuple):
        return [value for part in given for value in values_of(part)]
    return rate_values(given)


@dataclass(frozen=True)
class Choice(Need):
    """One of several words.

    Args:
        argument: its name.
        among: the words.
        what: of what these are the kinds, as the refusal says it; empty: of the trick.
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
    """A model whose `training_step` calls `on_loss`. Declared for every trick that defines `on_loss`."""

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
    """A network with a module of some kind, on which the trick works.

    Args:
        is_one: tells such a module from others.
        what: what the trick does with it, as the refusal says it: "acts on experts".
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
    """Weights and gradients that are whole in every process: no strategy that keeps a part of them in each.

    There `p.norm().item()` is that of a part, a copy in a checkpoint is a part, and the network's own weights take the
    place of those that `functional_call` is given, all without a word.
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
    """Abstract: what a trick refuses in another one of the run."""

    @property
    def reason(self) -> str:
        """Why two tricks cannot be in one run in either order, in few words."""
        raise NotImplementedError

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        """Say why a trick with this need cannot train with another one listed after it, or before it; None: it can."""
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
    """Return whether a callback has a term of its own in the loss: neither another loss nor a mere look at it."""
    looks = issubclass(kind, Declaring) and kind.looks_only
    return changes_loss(kind) and not looks and NothingAddedBefore() not in needs_of(kind)


@dataclass(frozen=True)
class Claims(PairNeed):
    """What only one trick of a run can do, as a verb: "set the learning rate"."""

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
    """No trick before it that adds to the loss: it puts another loss in the place of the cross-entropy."""

    reason = "one replaces the loss to which the other adds"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if after or not adds_to_loss(other):
            return None
        name = other.__name__
        return f"{trick.__name__} replaces the loss to which {name} has added: list it before {name}"


@dataclass(frozen=True)
class NoBatchChangedAfter(PairNeed):
    """No trick after it that changes the batch: it compares two passes of the same images."""

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
    """No trick after it that makes a new head: it keeps something of the head's layers."""

    reason = "one keeps something of the head, which the other makes anew"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if not after or not issubclass(other, Declaring) or not other.makes_head:
            return None
        return f"{other.__name__} makes a new head: list {trick.__name__} after it"


@dataclass(frozen=True)
class EveryPatch(PairNeed):
    """All patches of the student: no trick that takes some out."""

    reason = "one needs every patch, the other takes some out"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if not issubclass(other, Declaring) or not other.drops_patches:
            return None
        return f"{trick.__name__} needs every patch, and {other.__name__} takes some out: take one of the two out"


@dataclass(frozen=True)
class OneImageSize(PairNeed):
    """Images of the network's own size: no trick that changes it."""

    reason = "one needs images of one size, the other changes it"

    def refuses(self, trick: type[Declaring], other: type[L.Callback], after: bool) -> str | None:
        if not issubclass(other, Declaring) or not other.resizes:
            return None
        return f"{trick.__name__} needs images of one size, and {other.__name__} changes it: take one of the two out"
