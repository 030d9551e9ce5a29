"""Predict classes and probabilities of pictures, with one model or the mean of several."""

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from rich.progress import track
from torch import Tensor

from zoo.frame.about import names_of_classes
from zoo.frame.evaluation import evaluating
from zoo.frame.numbers import read_numbers
from zoo.frame.pictures import Named, Unreadable, find, read
from zoo.frame.preprocessing import Preprocessing


@dataclass(frozen=True)
class Prediction:
    """The prediction for one picture.

    Attributes:
        file: path of the picture, or "image 3" where it has none.
        classes: names of the k most probable classes, the most probable first.
        probabilities: of these classes, in [0, 1].
    """

    file: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[0]

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
        return self.probabilities[0]


def predict(
    models: Sequence[Any],
    inputs: Any,
    top: int = 5,
    batch_size: int = 64,
    skip_unreadable: bool = False,
    preprocessing: Preprocessing | None = None,
    progress: bool = False,
) -> list[Prediction]:
    """Classify pictures; several models give the mean of their softmaxes.

    Args:
        models: one `Classifier` or more, with the same classes in the same order, each on its own device.
        inputs: as in `zoo.frame.pictures.find`; or a preprocessed float tensor (N, C, H, W).
        top: k, number of classes to return, >= 1; all classes if there are fewer.
        batch_size: pictures at a time.
        skip_unreadable: skip unreadable files with a warning that names them; if False, they are an error.
        preprocessing: replaces that of each model's checkpoint.
        progress: draw a progress bar.

    Returns:
        One prediction per picture, in the order of the inputs.

    Raises:
        Unreadable: a file that cannot be read.
        ValueError: models of different classes, or a model that does not know its preprocessing.
    """
    names = common_classes(models)
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        parts = [(f"image {i}" for i in range(len(inputs))), _of_tensor(models, inputs, batch_size)]
        return [_row(file, p, names, top) for file, p in zip(*parts, strict=True)]
    found = find(inputs, any(takes_numbers(preprocessing or model.preprocessing) for model in models))
    steps = range(0, len(found), batch_size)
    rows: list[Prediction] = []
    with ThreadPoolExecutor(4) as pool:
        for start in track(steps, "predicting", disable=not progress, transient=True):
            files = found[start : start + batch_size]
            good, probabilities = _of_files(models, files, skip_unreadable, preprocessing, pool)
            rows += [_row(named.name, p, names, top) for named, p in zip(good, probabilities, strict=True)]
    return rows


def common_classes(models: Sequence[Any]) -> tuple[str, ...]:
    """Return the class names that all models share, or class numbers if a model has no names.

    Raises:
        ValueError: models of different classes.
    """
    every = [names_of_classes(m) or tuple(map(str, range(m.num_classes))) for m in models]
    if other := next((names for names in every if names != every[0]), None):
        raise ValueError(f"models of different classes cannot be averaged: {_few(every[0])} and {_few(other)}")
    return every[0]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")


def _of_tensor(models: Sequence[Any], images: Tensor, batch_size: int) -> Iterator[Tensor]:
    for batch in images.split(batch_size):
        yield from torch.stack([_softmax(model, batch) for model in models]).mean(0)


def _of_files(
    models: Sequence[Any],
    files: Sequence[Named],
    skip_unreadable: bool,
    preprocessing: Preprocessing | None,
    pool: ThreadPoolExecutor,
) -> tuple[list[Named], Tensor]:
    """Return the readable files and their probabilities (n, K)."""
    how = [preprocessing or preprocessing_of(model) for model in models]
    pictures = list(pool.map(lambda named: _read(named, how[0], skip_unreadable), files))
    pairs = [(named, picture) for named, picture in zip(files, pictures, strict=True) if picture is not None]
    if not pairs:
        return [], torch.empty(0)
    outputs = []
    for model, prepare in zip(models, how, strict=True):
        crops = torch.stack(list(pool.map(prepare.crop, [picture for _, picture in pairs])))
        outputs.append(_softmax(model, prepare.normalise(crops.to(model.device))).cpu())
    return [named for named, _ in pairs], torch.stack(outputs).mean(0)


def preprocessing_of(model: Any) -> Preprocessing:
    """Return a model's preprocessing. Raises ValueError if it does not know it."""
    if model.preprocessing is None:
        raise ValueError(
            f"{type(model).__name__} does not know how its images are prepared: no data module of the zoo trained it. "
            "Pass preprocessing=zoo.Preprocessing(size, short_side, mean, std), or prepared float images"
        )
    found: Preprocessing = model.preprocessing
    return found


def takes_numbers(how: Preprocessing | None) -> bool:
    """Return whether pictures may be arrays of any numbers, and .npy files: with a `scale`, or other channels."""
    return how is not None and (how.scale is not None or how.channels not in (1, 3))


def _read(named: Named, how: Preprocessing, skip_unreadable: bool) -> Tensor | None:
    try:
        return read(named, how.channels) if not takes_numbers(how) else read_numbers(named, how.channels, how.scale)
    except Unreadable as error:
        if not skip_unreadable:
            raise Unreadable(f"{error}: repair it, or leave out such files with skip_unreadable=True") from error
        rank_zero_warn(f"left out: {error}")
        return None


@torch.inference_mode()
def _softmax(model: Any, images: Tensor) -> Tensor:
    """Return probabilities (N, K), float32; for images with views (N, V, C, S, S), the mean over the views."""
    with evaluating(model):
        found: Tensor = model.predict_step(images.to(next(model.parameters())), 0)
    return found


def _row(file: str, probabilities: Tensor, names: Sequence[str], top: int) -> Prediction:
    values, at = probabilities.topk(min(top, len(names)))
    return Prediction(file, tuple(names[i] for i in at.tolist()), tuple(values.tolist()))


def write_csv(rows: Sequence[Prediction], path: str | Path) -> None:
    """Write predictions as CSV: file, class, probability, then further classes and their probabilities."""
    k = max((len(row.classes) for row in rows), default=1)
    heads = ["class", "probability", *(f"{name} {i}" for i in range(2, k + 1) for name in ("class", "probability"))]
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *heads])
        for row in rows:
            pairs = zip(row.classes, row.probabilities, strict=True)
            writer.writerow([row.file, *(word for name, p in pairs for word in (name, f"{p:.6f}"))])
