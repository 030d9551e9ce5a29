"""Report of a run: `report.png`."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from datamodules import ImageData
from recipes.frame.history import History, Watch
from zoo.frame.classifier import Classifier
from zoo.frame.figures import COLOURS, ELSE, WITH, WITHOUT, use_style
from zoo.frame.outputs import over_views


class Run(Protocol):
    """What a report shows of a `Recipe`."""

    name: str
    seed: int
    model: Classifier
    data: ImageData
    history: History
    watch: Watch


SHOWN = 10  # number of test images in the bottom row
CURVES = {"train": WITH, "val": ELSE}
RIGHT, WRONG = COLOURS[2], COLOURS[4]
SURE = 0.5  # least score of a box that is shown


@use_style
def draw(recipe: Run, path: Path) -> None:
    """Draw curves of loss, accuracy (of boxes: mAP) and learning rate; below them test images with predictions."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    curves, images = np.asarray(figure.subfigures(2, 1, height_ratios=[3, 1]))
    loss, accuracy, rate = curves.subplots(1, 3)
    _curves(loss, recipe, "loss")
    _curves(accuracy, recipe, "map" if recipe.model.task == "detection" else "acc")
    rate.plot(recipe.watch.rates)
    rate.set(title="learning rate", xlabel="batch")
    _predictions(images.subplots(1, SHOWN), recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def test_batch(data: ImageData) -> list[Tensor]:
    """Return the first test batch as a model sees it, on the CPU: images (N, C, H, W), targets (N,).

    Without test images, return the first validation batch.
    """
    batch = next(iter(data.test_dataloader() if has_test_images(data) else data.val_dataloader()))
    images, targets = data.on_after_batch_transfer(list(batch), 0)
    return [images, targets]


def answers(model: Any, images: Tensor) -> Tensor:
    """Return the logits of images; of a detector, boxes and score of each detection (M, 5)."""
    if model.task != "detection":
        return over_views(model, images)
    return torch.cat([torch.cat([found["boxes"], found["scores"][:, None]], 1) for found in model(images)])


def has_test_images(data: ImageData) -> bool:
    """Set the data up; tell whether it has a test set."""
    data.setup("test")
    return getattr(data, "test_set", data) is not None


def _curves(axes: Axes, recipe: Run, metric: str) -> None:
    """Draw every logged curve of `metric`. Curves of averaged weights and of mixed targets are dashed."""
    for name in sorted(recipe.history.metrics):
        stage, _, rest = name.partition("/")
        if stage in CURVES and (rest == metric or rest.startswith(f"{metric}_")) and rest != "loss_step":
            axes.plot(*recipe.history.curve(name), "-" if rest == metric else "--", color=CURVES[stage], label=name)
    axes.set(title={"acc": "accuracy", "map": "mean average precision"}.get(metric, metric), xlabel="epoch")
    axes.locator_params(axis="x", integer=True)  # no tick at epoch 1.5
    if axes.lines:
        axes.legend()


def _predictions(row: list[Axes], recipe: Run) -> None:
    """Show test images with the predicted class: green if right, else red beside the right class."""
    images, targets = (each[:SHOWN] for each in test_batch(recipe.data))
    model = recipe.model.cpu().eval()
    with torch.inference_mode():
        guesses: Any = model(images) if model.task == "detection" else over_views(model, images).argmax(1)
    images = images[:, 0] if images.ndim == 5 else images  # the first view
    low, high = images.amin((1, 2, 3), True), images.amax((1, 2, 3), True)
    pixels = ((images - low) / (high - low).clamp(min=1e-6)).permute(0, 2, 3, 1)  # (N, H, W, C) in [0, 1]
    names = recipe.data.classes
    for axes in row:
        axes.axis("off")
    if getattr(recipe.model, "masks", False):
        return _masks(row, pixels, guesses, targets)
    if model.task == "detection":
        return _boxes(row, pixels, guesses, targets)
    for axes, picture, guess, truth in zip(row, pixels, guesses.tolist(), targets.tolist(), strict=False):
        axes.imshow(picture.squeeze(-1).numpy(), cmap="gray")
        right = guess == truth
        axes.set_title(
            names[guess] if right else f"{names[guess]}, not {names[truth]}", color=RIGHT if right else WRONG
        )


def _masks(row: list[Axes], pixels: Tensor, guesses: Tensor, truths: Tensor) -> None:
    """Show images (n, H, W, C) under their predicted masks (n, H, W), with the fraction of right pixels above."""
    for axes, picture, guess, truth in zip(row, pixels, guesses, truths, strict=False):
        axes.imshow(picture.numpy())
        axes.imshow(guess.numpy(), alpha=0.6 * (guess > 0).float().numpy(), cmap="tab10", vmin=0, vmax=9)
        axes.set_title(f"{(guess == truth).float().mean():.0%} right")


def _boxes(row: list[Axes], pixels: Tensor, guesses: list[dict[str, Tensor]], truths: Any) -> None:
    """Show images (n, H, W, C) with their true boxes, grey, and the detections of a score of .5, a colour a class."""
    for axes, picture, found, true in zip(row, pixels, guesses, truths, strict=False):
        axes.imshow(picture.squeeze(-1).numpy(), cmap="gray")
        sure = found["scores"] >= SURE
        seen = [
            (box, COLOURS[k % 5]) for box, k in zip(found["boxes"][sure], found["labels"][sure].tolist(), strict=True)
        ]
        for (x1, y1, x2, y2), colour in [*((box, WITHOUT) for box in true["boxes"]), *seen]:
            corner = float(x1) - 0.5, float(y1) - 0.5  # a pixel's centre has whole numbers
            axes.add_patch(Rectangle(corner, float(x2 - x1), float(y2 - y1), fill=False, edgecolor=colour))
        axes.set_title(f"{len(seen)} of {len(true['boxes'])} boxes")
