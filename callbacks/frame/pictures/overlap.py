"""Kind "overlap": the loss of a box, and its gradient, while the box is moved over the true one of the same size."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from callbacks.frame.pictures.apart import apart, fresh
from callbacks.frame.pictures.curves import panels, values_and_slopes
from callbacks.frame.trick import Trick
from zoo import Step
from zoo.frame.figures import Drawing
from zoo.layers.detection_heads import Matches

SIDE = 32.0  # of both boxes, in pixels
SHIFTS = np.linspace(-2, 2, 81)  # in widths of a box
NAMES = ("loss", "its gradient")


def step_of(shift: Tensor) -> Step:
    """Return a step of one box that lies this part of its width to the right of the true one; its loss is 1 - IoU."""
    truth = torch.tensor([[0.0, 0.0, SIDE, SIDE]])
    boxes = truth + SIDE * shift * torch.tensor([1.0, 0.0, 1.0, 0.0])
    loss = 1 - box_iou(boxes, truth)[0, 0]
    one = torch.zeros(1, dtype=torch.int64)
    matches = Matches(boxes, truth, truth, one, one, boxes / SIDE, truth / SIDE, torch.ones(1), "bbox_regression")
    extras: dict[str, Any] = {"losses": {"bbox_regression": loss}, "matches": matches}
    return Step(torch.zeros(1, 3, 8, 8), torch.zeros(1), torch.zeros(1, 1), loss, extras)


def draw(trick: Trick) -> Drawing:
    """Draw loss and gradient with the trick, and those of 1 - IoU."""
    copy = fresh(trick)

    def loss(shift: Tensor) -> Tensor:
        step = step_of(shift)
        copy.on_loss(None, step)
        return step.loss

    with apart():
        found, plain = values_and_slopes(loss, SHIFTS), values_and_slopes(lambda shift: step_of(shift).loss, SHIFTS)
    name = f"with {type(trick).__name__}"
    axes = {what: {"without": (SHIFTS, plain[i]), name: (SHIFTS, found[i])} for i, what in enumerate(NAMES)}
    caption = "Loss of a box, and its gradient, while it is moved over the true box of the same size"
    return panels(axes, "shift in widths of the box", f"{caption}. With {trick!r}; without: 1 - IoU.")
