"""Declarations of tricks about the other tricks of a run.

`callbacks.frame.pairs` reads in the same declarations which tricks can train together.
"""

from dataclasses import dataclass

import lightning as L

from callbacks.frame.declaration import Declaring, needs_of
from callbacks.frame.needs import Need
from zoo.frame.detector import takes_boxes
from zoo.frame.run import callbacks_of
from zoo.frame.step import changes_loss


class PairNeed(Need):
    """Abstract: a requirement of a trick on the other tricks of the run."""

    @property
    def reason(self) -> str:
        """Say in a few words why two tricks cannot be in one run, whatever their order."""
        raise NotImplementedError

    def refuses(self, trick: type[L.Callback], other: type[L.Callback], after: bool) -> str | None:
        """Say why a trick with this need cannot train with another, listed `after` it or before it; None: it can."""
        raise NotImplementedError

    def check_run(self, trick: L.Callback, trainer: L.Trainer, model: L.LightningModule) -> None:
        others = callbacks_of(trainer)
        place = next((i for i, other in enumerate(others) if other is trick), len(others))
        for i, other in enumerate(others):
            if i != place and (why := self.refuses(type(trick), type(other), after=i > place)):
                raise ValueError(why)


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

    def refuses(self, trick: type[L.Callback], other: type[L.Callback], after: bool) -> str | None:
        if self not in needs_of(other):
            return None
        return f"{trick.__name__} and {other.__name__} both {self.action}: take one of them out"


@dataclass(frozen=True)
class NothingAddedBefore(PairNeed):
    """Require that no trick before it adds to the loss, because it replaces the cross-entropy."""

    reason = "one replaces the loss to which the other adds"

    def refuses(self, trick: type[L.Callback], other: type[L.Callback], after: bool) -> str | None:
        if after or not adds_to_loss(other):
            return None
        name = other.__name__
        return f"{trick.__name__} replaces the loss to which {name} has added: list it before {name}"


@dataclass(frozen=True)
class NoBatchChangedAfter(PairNeed):
    """Require that no trick after it changes the batch, because it compares two passes of the same images."""

    reason = "one compares two passes of the same images, which the other changes"

    def refuses(self, trick: type[L.Callback], other: type[L.Callback], after: bool) -> str | None:
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

    def refuses(self, trick: type[L.Callback], other: type[L.Callback], after: bool) -> str | None:
        if not after or not issubclass(other, Declaring) or not other.makes_head:
            return None
        return f"{other.__name__} makes a new head: list {trick.__name__} after it"


@dataclass(frozen=True)
class EveryPatch(PairNeed):
    """Require all patches of the student: refuse tricks that drop some."""

    reason = "one needs every patch, the other takes some out"

    def refuses(self, trick: type[L.Callback], other: type[L.Callback], after: bool) -> str | None:
        if not issubclass(other, Declaring) or not other.drops_patches:
            return None
        return f"{trick.__name__} needs every patch, and {other.__name__} takes some out: take one of the two out"


@dataclass(frozen=True)
class OneImageSize(PairNeed):
    """Require images of the network's own size: refuse tricks that change it."""

    reason = "one needs images of one size, the other changes it"

    def refuses(self, trick: type[L.Callback], other: type[L.Callback], after: bool) -> str | None:
        if not issubclass(other, Declaring) or not other.resizes:
            return None
        return f"{trick.__name__} needs images of one size, and {other.__name__} changes it: take one of the two out"


@dataclass(frozen=True)
class ImagesOfTheSeed(PairNeed):
    """Require images that follow from the seed alone: refuse tricks that ask the network for them."""

    reason = "one needs the same images in every run, the other chooses them by the network"

    def refuses(self, trick: type[L.Callback], other: type[L.Callback], after: bool) -> str | None:
        if not issubclass(other, Declaring) or not other.asks_network:
            return None
        return (
            f"{trick.__name__} needs the same images in every run, and {other.__name__} chooses them by the network: "
            "take one of the two out"
        )


@dataclass(frozen=True)
class OthersTakeBoxes(PairNeed):
    """Require that the other tricks work with boxes. Declared for every trick with `needs_boxes`."""

    reason = "one needs boxes, of which the other knows nothing"

    def refuses(self, trick: type[L.Callback], other: type[L.Callback], after: bool) -> str | None:
        if takes_boxes(other):
            return None
        return f"{trick.__name__} needs boxes, of which {other.__name__} knows nothing: take one of the two out"
