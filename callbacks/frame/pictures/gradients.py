"""Kind "gradients": norm and mean of each unit's gradient before a trick and after it, in one optimizer step."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.photographs import batch
from callbacks.frame.trick import Trick
from zoo import ConvNet
from zoo.frame.figures import ELSE, WITH, WITHOUT, Drawing, new_figure, style

SIDE, SCALE = 28, 8.0  # of the images, in pixels; of their values, so that some gradients are large


class Gradients(L.Callback):
    """Record the gradient of each unit: rows of weights."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Any) -> None:
        held = [p.grad.clone() for p in model.parameters() if p.grad is not None and p.ndim > 1]
        self.rows = [row for grad in held for row in grad.flatten(1)]


def draw(trick: Trick) -> Drawing:
    """Draw a dot for each unit: on the diagonal it is unchanged."""
    with apart():
        images, targets = batch(SIDE)
        before, after = Gradients(), Gradients()
        model = ConvNet("LeNet", num_classes=3, image_size=SIDE, lr=0.01)
        fit(model, [images * SCALE, targets], [before, fresh(trick), after])
    with style():
        figure = new_figure(6.4, 3.1)
        left, right = figure.subplots(1, 2)
        for axes, name, measure in ((left, "norm", torch.norm), (right, "mean", torch.mean)):
            x, y = (torch.stack([measure(row) for row in rows]).numpy() for rows in (before.rows, after.rows))
            moved = abs(x - y) > 1e-3 * abs(x).max()
            axes.axline((0.1, 0.1), (1, 1), color=WITHOUT, linewidth=1, linestyle=(0, (3, 2)))
            axes.scatter(x[~moved], y[~moved], 9, WITH, label="unchanged")
            axes.scatter(x[moved], y[moved], 9, ELSE, label="changed")
            axes.set(xlabel="before", ylabel="after", title=f"{name} of a unit's gradient")
            if name == "norm":
                axes.set(xscale="log", yscale="log")
            else:
                axes.set(xlim=(-abs(x).max() * 1.1, abs(x).max() * 1.1), ylim=(-abs(x).max() * 1.1, abs(x).max() * 1.1))
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    caption = f"One step of a small ConvNet on images of {SCALE:g} times their contrast: each dot is a unit's gradient"
    return Drawing(figure, f"{caption}, before {trick!r} (across) and after it (up).")
