"""Kind "boxes": three photographs with the boxes of their objects, before a trick and after it."""

from copy import deepcopy
from typing import Any

import lightning as L
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.photographs import CLASSES, photographs, picture_of, sheet
from callbacks.frame.trick import Trick
from zoo.frame.figures import COLOURS, Sheet

DRAWS = 16  # batches, of which the one that changes most is shown
WIDTH = 4  # of a box's line, in pixels
OBJECTS = {  # photograph: its objects' boxes in pixels, and their classes
    0: ([[1, 1, 178, 223]], [0]),
    1: ([[22, 39, 177, 193], [88, 202, 175, 224]], [1, 1]),
    2: ([[29, 2, 178, 211]], [2]),
}


class Looking(L.LightningModule):
    """A model of boxes that takes batches and learns nothing; keeps those that tricks left it."""

    task = "detection"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.batches: list[list[Any]] = []

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        self.batches.append(deepcopy(batch))
        images: Tensor = batch[0]
        return self.weight * images.mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def batch() -> list[Any]:
    """Return the photographs, about normalised, and their boxes."""
    targets = [{"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(k)} for boxes, k in OBJECTS.values()]
    return [(photographs().float() / 255 - 0.5) / 0.25, targets]


def draw(trick: Trick) -> Sheet:
    """Draw the batch, of sixteen, whose pixels the trick changes most."""
    before, model = batch(), Looking()
    with apart():
        fit(model, before, [fresh(trick)], DRAWS)
    after = max(model.batches, key=lambda one: (one[0] - before[0]).abs().mean((1, 2, 3)).sort()[0][1].item())
    rows = [[with_boxes(*pair) for pair in zip(*each, strict=True)] for each in (before, after)]
    under = [[words(target) for target in targets] for _, targets in (before, after)]
    return Sheet(
        sheet(rows, ["before", "after"], under),
        f"Three photographs with the boxes of their objects, and what {trick!r} makes of both. Of {DRAWS} batches, the "
        "one that changes most.",
    )


def with_boxes(image: Tensor, target: dict[str, Tensor]) -> Image.Image:
    """Return a normalised image (3, H, W) with its boxes, a colour for each class."""
    picture = picture_of(image)
    pen = ImageDraw.Draw(picture)
    for box, label in zip(target["boxes"].round().tolist(), target["labels"].tolist(), strict=True):
        pen.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=COLOURS[label], width=WIDTH)
    return picture


def words(target: dict[str, Tensor]) -> str:
    """Write the classes of an image's objects."""
    return ", ".join(CLASSES[label] for label in target["labels"].tolist())
