"""A callback that declares what it needs: attributes of the class, collected over its bases."""

from typing import Any, ClassVar

import lightning as L

from callbacks.frame.model_needs import CallsOnLoss, HasBoxes, WholeWeights
from callbacks.frame.needs import Need
from zoo import LossTrick
from zoo.frame.step import changes_loss


class Declaring(LossTrick):
    """A callback that declares its requirements; the frame checks them.

    Attributes:
        needs: see `callbacks.frame.needs`. A subclass lists its own; those of its bases are added.
        looks_only: changes nothing, so that its position in the list is free.
        changes_batch: changes images, or images and targets, before the network sees them.
        asks_network: makes images that depend on the network, not on the seed alone.
        resizes: changes the size of images.
        drops_patches: removes patches from a transformer's sequence.
        makes_head: replaces the classifier by another layer.
        whole_weights: reads or copies weights or gradients as they are in one process, see `WholeWeights`.
        reads_weights: reads or copies them in parts too, by `zoo.frame.sharded`; refuses other ways to shard.
        needs_labels: needs one label per image. A `Segmenter`, whose targets are masks, refuses it; it also refuses
            tricks that resize.
        takes_boxes: works where targets are boxes: see `Detector`, which refuses other tricks. None: yes, unless it
            changes the batch, the loss or the classifier.
        needs_boxes: works where targets are boxes only; refused elsewhere, and beside tricks that do not take boxes.
        one_label: needs probabilities of classes that sum to 1 (a softmax). Refused if images have several labels.
    """

    needs: ClassVar[tuple[Need, ...]] = ()
    looks_only: ClassVar[bool] = False
    changes_batch: ClassVar[bool] = False
    asks_network: ClassVar[bool] = False
    resizes: ClassVar[bool] = False
    drops_patches: ClassVar[bool] = False
    makes_head: ClassVar[bool] = False
    whole_weights: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    one_label: ClassVar[bool] = False
    takes_boxes: ClassVar[bool | None] = None
    needs_boxes: ClassVar[bool] = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        own = vars(cls).get("needs", ())
        given = [need for base in cls.__bases__ if issubclass(base, Declaring) for need in base.needs]
        if changes_loss(cls):
            given.append(CallsOnLoss())
        if cls.needs_boxes:
            cls.takes_boxes = True
            given.append(HasBoxes())
        if cls.whole_weights or cls.reads_weights:
            given.append(WholeWeights(in_parts=not cls.whole_weights))
        cls.needs = tuple({_subject(need): need for need in (*given, *own)}.values())


def _subject(need: Need) -> tuple[type[Need], str]:
    """Return what a need is about: a subclass's range of an argument replaces its base's."""
    return type(need), getattr(need, "argument", "")


def needs_of(kind: type[L.Callback]) -> tuple[Need, ...]:
    """Return what a callback's class declares; nothing for callbacks that are no tricks."""
    return kind.needs if issubclass(kind, Declaring) else ()
