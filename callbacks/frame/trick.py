"""What every trick shares: a printable form, a key for its state, and refusals that say what to do."""

import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import lightning as L

from callbacks.frame.schedule import Schedule
from zoo.frame.checks import validate_choice

PLAIN = (bool, int, float, str, tuple, type(None), Schedule)
# where a trick regularises (Kukacka, Golkov, Cremers; 2017; https://arxiv.org/abs/1710.10686): the five symbols of
# arg min_w 1/|D| sum_(x, t) in D E(f_w(x), t) + R
TAXONOMY = {"data": r"\mathcal D", "architecture": "f", "error term": "E", "penalty": "R", "optimisation": r"\arg\min"}
OF_ROOM = {  # what is drawn for hidden features counts as data there: they are inputs of the layers behind
    "data": "data",
    "dropout": "data",
    "network": "architecture",
    "loss": "error term",
    "distillation": "error term",
    "optimization": "optimisation",
}


class Trick(L.Callback):
    """A callback that prints as the call that makes it, and keeps its state under that name.

    So two of a kind with different arguments have different states, where Lightning alone raises. Each argument of
    `__init__` is an attribute of the same name.

    Attributes:
        claims: what only one trick of a run can do, as a verb: "set the learning rate". See `refuse_second`.
        replaces_loss: puts another loss in the place of the cross-entropy. See `needs_nothing_added`.
        drops_patches, needs_patches: takes patches out of a transformer; needs all of them. See `needs_every_patch`.
        resizes, needs_one_size: changes the size of images; counts on one. See `needs_images_of_one_size`.
        needs_labels: counts on one label an image; a `Segmenter`, which has masks, refuses it, and those that resize.
        looks_only: changes nothing, so that its place among the others is free.
        taxonomy: where it regularises, of `TAXONOMY`; None: it does not. As its room says, where a class does not.

    `callbacks.frame.pairs` reads from these which tricks go together.
    """

    claims: str | None = None
    replaces_loss: bool = False
    drops_patches: bool = False
    needs_patches: bool = False
    resizes: bool = False
    needs_one_size: bool = False
    needs_labels: bool = False
    looks_only: bool = False
    taxonomy: str | None = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if cls.taxonomy is None and "taxonomy" not in vars(cls):
            package, _, room = cls.__module__.rpartition(".")[0].partition(".")
            cls.taxonomy = OF_ROOM.get(room) if package == "callbacks" else None

    def __repr__(self) -> str:
        arguments = parameters(type(self))
        given = {name: getattr(self, name) for name in arguments}
        words = [f"{name}={_word(v)}" for name, v in given.items() if not _same(v, arguments[name].default)]
        return f"{type(self).__name__}({', '.join(words)})"

    @property
    def state_key(self) -> str:
        return repr(self)


@functools.cache
def parameters(kind: type) -> Mapping[str, inspect.Parameter]:
    """Those of its constructor. Kept: Lightning asks for a `state_key` at every hook of every step."""
    return inspect.signature(kind).parameters


def _word(value: Any) -> str:
    return repr(value) if isinstance(value, PLAIN) else type(value).__name__


def _same(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, PLAIN) and value == default)


def names_of(stages: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Stages as a trick keeps them: a list too, as it comes from YAML, prints as the tuple that it is."""
    return (stages,) if isinstance(stages, str) else stages if stages is None else tuple(stages)


def needs_on_loss(trick: L.Callback, model: L.LightningModule) -> None:
    """Refuses a LightningModule whose `training_step` does not call `on_loss`."""
    if getattr(model, "calls_on_loss", False):
        return
    name = type(trick).__name__
    raise TypeError(
        f"{name} changes the loss through `on_loss`, which {type(model).__name__} does not call. Wrap its network in "
        "zoo.Classifier(network); or in its training_step make step = zoo.Step(images, targets, logits, loss), call "
        "on_loss(self, step) of each callback that has it, return step.loss, and set calls_on_loss = True on the class"
    )


def needs_stages(trick: L.Callback, model: L.LightningModule, stages: Sequence[str] | None) -> list[str]:
    """The stages asked for, or all that there are. Refuses a network without them."""
    there = [*getattr(model, "stages", {}).keys()]  # a `Stages` iterates over its modules
    if not there:
        raise TypeError(
            f"{type(trick).__name__} looks at stages, and {type(model).__name__} names none: "
            "zoo.Classifier(network, stages={'stage1': 'path.of.module', ...})"
        )
    return there if stages is None else [validate_choice(stage, there, type(model).__name__) for stage in stages]


def needs_nothing_added(trick: L.Callback, callbacks: Sequence[L.Callback]) -> None:
    """For a trick that replaces the loss: refuses tricks before it whose addition it would wipe out."""
    before = callbacks[: callbacks.index(trick)]
    adding = [type(c).__name__ for c in before if adds_to_loss(c)]
    if adding:
        name = type(trick).__name__
        raise ValueError(f"{name} replaces the loss to which {adding[0]} has added: list it before {adding[0]}")


def adds_to_loss(trick: L.Callback | type[L.Callback]) -> bool:
    """Whether it has a term of its own in the loss: neither another loss nor a mere look at it."""
    other = getattr(trick, "replaces_loss", False) or getattr(trick, "looks_only", False)
    return hasattr(trick, "on_loss") and not other


def needs_every_patch(trick: L.Callback, callbacks: Iterable[L.Callback]) -> None:
    """For a trick that goes patch by patch: refuses those that take patches out of the student."""
    dropping = [type(c).__name__ for c in callbacks if getattr(c, "drops_patches", False)]
    if dropping:
        name = type(trick).__name__
        raise ValueError(f"{name} needs every patch, and {dropping[0]} takes some out: take one of the two out")


def needs_images_of_one_size(trick: L.Callback, callbacks: Iterable[L.Callback]) -> None:
    """For a trick that counts on the network's own image size: refuses those that change it."""
    resizing = [type(c).__name__ for c in callbacks if getattr(c, "resizes", False)]
    if resizing:
        name = type(trick).__name__
        raise ValueError(f"{name} needs images of one size, and {resizing[0]} changes it: take one of the two out")


def refuse_second(trick: Trick, callbacks: Iterable[L.Callback]) -> None:
    """Refuses another trick that claims the same."""
    others = [type(c).__name__ for c in callbacks if getattr(c, "claims", None) == trick.claims and c is not trick]
    if others:
        raise ValueError(f"{type(trick).__name__} and {others[0]} both {trick.claims}: take one of them out")


def needs_range(trick: L.Callback, name: str, value: float, low: float, high: float, open_low: bool = False) -> None:
    """Refuses a number outside [low, high], or (low, high]."""
    if not (low < value if open_low else low <= value) or value > high:
        left = "(" if open_low else "["
        cure = f"to train without it, leave {type(trick).__name__} out" if value == low else f"got {value}"
        raise ValueError(f"{type(trick).__name__}: {name} must be in {left}{low}, {high}], not {value}; {cure}")
