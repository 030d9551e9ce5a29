"""Keyword options of data modules: typed for editors, listed for the command line, checked at run time."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict

from datamodules.frame.choices import suggest
from datamodules.transforms import Spec

Flip = bool | Literal["alternating"]
Colours = tuple[float, ...]  # a number a channel, in units of the range [0, 1]


class SplitOptions(TypedDict, total=False):
    """Choose images for training and validation: see `ImageData`."""

    val_split: float | int | None
    fold: int | None
    folds: int | None
    fraction: float
    split_seed: int
    sampling: str | None
    repeats: int
    per_class: int | None
    label_noise: float
    noise_kind: str
    like: Any
    device_data: bool | str


class ImageOptions(SplitOptions, total=False):
    """Options of `ImageData`."""

    num_workers: int


class AugmentOptions(ImageOptions, total=False):
    """Options of `MemoryData` without those of crop and flip."""

    cutout: int | None
    transform: Spec | None
    channels: int
    mean: Colours | None
    std: Colours | None


class FlipOptions(AugmentOptions, total=False):
    """Options of `MemoryData` without `padding`."""

    flip: Flip


class MemoryOptions(FlipOptions, total=False):
    """Options of `MemoryData`."""

    padding: int
    border: str


class FileOptions(SplitOptions, total=False):
    """Options of `FileData`."""

    image_size: int
    transform: Spec
    evaluation: Spec
    skip_unreadable: bool
    channels: int
    white: float | None
    scale: float | Sequence[float] | None
    mean: Colours | None
    std: Colours | None
    num_workers: int | None


def constructors(cls: type) -> list[inspect.Signature]:
    """Return the constructors that get a class's keywords: its own, then its bases' while they take `**keywords`."""
    found = []
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        found.append(inspect.signature(vars(base)["__init__"]))
        if not any(p.kind is p.VAR_KEYWORD for p in found[-1].parameters.values()):
            break
    return found


def whole_signature(cls: type) -> inspect.Signature:
    """Return the constructor's signature with all options of the bases instead of `**options`."""
    found: dict[str, inspect.Parameter] = {}
    for number, signature in enumerate(constructors(cls)):
        for parameter in signature.parameters.values():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                kind = parameter.kind if number == 0 else parameter.KEYWORD_ONLY
                found.setdefault(parameter.name, parameter.replace(kind=kind))
    return inspect.Signature(sorted(found.values(), key=lambda p: p.kind))


def unknown_options(cls: type, names: Iterable[str]) -> TypeError:
    """Return the error for keywords that a data module does not have."""
    known = [name for name in inspect.signature(cls).parameters if name != "self"]
    wrong = next(iter(names))
    return TypeError(f"{cls.__name__} has no option {wrong!r}: {suggest(wrong, known)}there are {', '.join(known)}")


def check_colours(mean: Colours | None, std: Colours | None, channels: int, otherwise: str) -> None:
    """Raise a ValueError unless mean and std are both None, or both have a number for each channel.

    Args:
        mean, std: in units of [0, 1].
        channels: of an image.
        otherwise: name of the default mean and std, for the message.
    """
    if (mean is None) != (std is None):
        raise ValueError(f"mean and std belong together: give both, or neither for {otherwise}")
    for name, numbers in (("mean", mean), ("std", std)):
        if numbers is not None and len(numbers) != channels:
            raise ValueError(f"{name} must have a number for each channel, {channels} in all, got {tuple(numbers)}")
