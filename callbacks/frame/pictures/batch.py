"""Kind "batch": three photographs before a trick and after it, with the classes that the loss sees."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.photographs import CLASSES, batch, picture_of, sheet
from callbacks.frame.trick import Trick
from zoo import Classifier
from zoo.frame.figures import Sheet

DRAWS = 16  # batches, of which the one that changes most is shown


class Seen(L.Callback):
    """Keep the batches as the tricks before this callback left them."""

    def __init__(self) -> None:
        self.batches: list[list[Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append([part.clone() for part in batch])


def small_network(classes: int = len(CLASSES)) -> Classifier:
    """Return a network of one linear layer, for images of any size."""
    layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))
    return Classifier(layers, num_classes=classes)


def draw(trick: Trick) -> Sheet:
    """Draw the batch, of sixteen, that the trick changes most."""
    before, seen = batch(), Seen()
    with apart():
        fit(small_network(), before, [fresh(trick), seen], DRAWS)
    images, targets = max(seen.batches, key=lambda after: change(before[0], after))
    rows = [[picture_of(image) for image in some] for some in (before[0], images)]
    under = [[words(y) for y in some] for some in (before[1], targets)]
    return Sheet(
        sheet(rows, ["before", "after"], under),
        f"Three photographs with their classes, and what {trick!r} makes of them, with the weight of each class. "
        f"Of {DRAWS} batches, the one that changes most.",
    )


def change(before: Tensor, after: list[Tensor]) -> float:
    """Return how much a batch was changed: the mean change of a pixel, and how evenly classes are mixed."""
    each = (after[0] - before).abs().mean((1, 2, 3))
    y = after[1]
    mixed = -(y * y.clamp_min(1e-9).log()).sum(1).min() if y.is_floating_point() else torch.zeros(())
    return (each.mean() + each.min() + 10 * mixed).item()


def words(target: Tensor) -> str:
    """Write a class, or the weights of classes in percent."""
    if not target.is_floating_point():
        return CLASSES[int(target)]
    parts = [(p, name) for p, name in zip(target.tolist(), CLASSES, strict=True) if p >= 0.005]
    return "  ".join(f"{name} {p:.0%}" for p, name in sorted(parts, reverse=True))
