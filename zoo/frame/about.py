"""Describe a checkpoint: class names, preprocessing, tricks of the run, versions."""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn

from zoo.frame import surgery
from zoo.frame.preprocessing import Preprocessing
from zoo.frame.sharded import class_name

ABOUT, CLASS = "about", "class"  # keys in checkpoints: of this description, and of the name of the model's class


def about(model: Any, trainer: Any = None) -> dict[str, Any]:
    """Describe a model as plain values: all that is needed to use it."""
    found: dict[str, Any] = {
        "classes": list(model.classes) if model.classes else None,
        "multi_label": model.multi_label,
        "preprocessing": model.preprocessing.plain() if model.preprocessing else None,
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "lightning": L.__version__},
    }
    found["versions"]["lightning-zoo"] = version("lightning-zoo")
    if trainer is not None:
        found["tricks"] = names_of(trainer.callbacks)
    return found


def metadata(model: Any) -> dict[str, str]:
    """Describe a model for the header of an exported file: name, classes, preprocessing, ..., each as JSON."""
    named = {"model": class_name(model), "variant": model.hparams.get("variant")}
    found = named | {"surgery": surgery.words(surgery.surgery_record(model))} | about(model)
    found |= {"classes": names_of_classes(model)}
    found |= {"preprocessing": model.preprocessing.words() if model.preprocessing else None}
    return {name: json.dumps(value) for name, value in found.items() if value is not None}


def names_of_classes(model: Any) -> tuple[str, ...] | None:
    """Return the names that a model has for its classes: those of its data, else those of its pretrained weights."""
    names: tuple[str, ...] | None = model.classes or model.pretrained_classes
    return names


def names_of(callbacks: Sequence[L.Callback]) -> list[str]:
    """Return the callbacks whose `repr` is their constructor call, as it is for all tricks."""
    return [repr(callback) for callback in callbacks if type(callback).__repr__ is not object.__repr__]


def learn_from_data(model: Any, data: Any) -> None:
    """Copy class names and preprocessing from a data module, if it has them."""
    classes = getattr(data, "classes", None)
    if classes is not None:
        model.classes = tuple(map(str, classes))
    plain = getattr(data, "preprocessing", None)
    if plain is not None:
        say_mismatch(model, Preprocessing.of(plain))
        model.preprocessing = Preprocessing.of(plain)


def say_mismatch(model: Any, theirs: Preprocessing) -> None:
    """Warn if the weights were trained with another mean or std than the data's."""
    ours = model.preprocessing
    if model.untrained or ours is None or ours.same_colours(theirs):
        return
    words = f"mean {_few(ours.mean)} and {_few(theirs.mean)}; std {_few(ours.std)} and {_few(theirs.std)}"
    rank_zero_warn(
        f"the model's weights and the data differ in {words}: features are not what the weights learned; "
        "make the data with like=model, or with this mean and std"
    )


def _few(numbers: Sequence[float]) -> str:
    return f"({', '.join(f'{number:.3g}' for number in numbers)})"


def restore(model: Any, found: dict[str, Any] | None) -> None:
    """Restore class names and preprocessing from a checkpoint's entry; older files have none."""
    found = found or {}
    model.multi_label = found.get("multi_label", model.multi_label)
    if found.get("classes"):
        model.classes = tuple(found["classes"])
    if found.get("preprocessing"):
        model.preprocessing = Preprocessing.of(found["preprocessing"])


def check_classes(theirs: Sequence[str] | None, data: Any) -> None:
    """Refuse data whose classes differ from those that were trained: labels would change their meaning.

    Raises:
        ValueError: names the first label whose class differs.
    """
    ours = getattr(data, "classes", None)
    if not theirs or ours is None or list(map(str, ours)) == list(theirs):
        return
    pairs = [(a, b) for a, b in zip(theirs, ours, strict=False) if a != str(b)]
    what = f"label of {pairs[0][0]!r} would mean {pairs[0][1]!r}" if pairs else f"{len(theirs)} and {len(ours)} classes"
    raise ValueError(
        f"the classes that were trained are not the data's: the {what}. To train the data's classes from these "
        "weights, begin a new run with weights=FILE; to go on all the same, set model.replace_classes = True"
    )


def check_num_classes(model: Any, data: Any) -> None:
    """Refuse data whose number of classes differs from the model's. Raises ValueError."""
    theirs = getattr(data, "num_classes", model.num_classes)
    if theirs != model.num_classes:
        raise ValueError(
            f"the data has {theirs} classes, the model {model.num_classes}: "
            f"{type(model).__name__}(..., num_classes={theirs})"
        )
