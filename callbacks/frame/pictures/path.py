"""Kind "path": one noisy weight over a run, and its average."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks.frame.pictures.apart import Batches, apart, fresh, trainer_of
from callbacks.frame.pictures.curves import panels
from callbacks.frame.trick import Trick
from zoo.frame.figures import Drawing

EPOCHS, STEPS, RATE, NOISE = 40, 25, 0.15, 0.6


class Noisy(L.LightningModule):
    """One weight, drawn to 0 by a gradient with noise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.5))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.weight.square() / 10 + NOISE * torch.randn(()) * self.weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), RATE)


class Follow(L.Callback):
    """Record the weight and its average after each step."""

    def __init__(self, trick: Any):
        self.trick = trick
        self.weights: list[float] = []
        self.averages: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        self.weights.append(model.get_parameter("weight").item())
        average = self.trick.average
        self.averages.append(float("nan") if average is None else average["weight"].item())


def draw(trick: Trick) -> Drawing:
    """Draw the weight and its average over a thousand steps."""
    with apart(2):
        copy = fresh(trick)
        follow = Follow(copy)
        with trainer_of([copy, follow], max_epochs=EPOCHS) as trainer:
            trainer.fit(Noisy(), DataLoader(Batches([torch.zeros(1)], STEPS), batch_size=None))
    epochs = [(i + 1) / STEPS for i in range(len(follow.weights))]
    lines = {"the weight": (epochs, follow.weights), "its average": (epochs, follow.averages)}
    caption = f"A weight that a noisy gradient pulls to 0, over {EPOCHS} epochs of {STEPS} steps, and {trick!r} of it."
    return panels({"weight": lines}, "epoch", caption, xlim=(0, EPOCHS))
