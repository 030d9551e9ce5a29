"""Kind "plateau": a metric that stops getting better, and what a trick does then."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks.frame.pictures.apart import Batches, apart, fresh, trainer_of
from callbacks.frame.pictures.curves import legend
from zoo.frame.figures import ELSE, WITH, WITHOUT, Drawing, new_figure, style

EPOCHS = 100


class Scripted(L.LightningModule):
    """A model whose metric follows a script: it falls, stays, and rises a little. Of mode "max": it rises first."""

    def __init__(self, metric: str | None, sign: float):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.metric, self.sign = metric, sign
        noise = 0.03 * torch.randn(EPOCHS)
        epochs = torch.arange(EPOCHS)
        self.script = 0.5 + sign * (torch.exp(-epochs / 10) - 0.1 + noise + 0.002 * (epochs - 50).clamp_min(0))
        self.rates: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.rates.append(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return self.script[self.current_epoch] + 0 * self.weight

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log(self.metric or "val/loss", self.script[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1.0)


def draw(trick: Any) -> Drawing:
    """Draw the metric with the values so far and the best, and the learning rate if it changes."""
    with apart(5):
        copy = fresh(trick)
        model = Scripted(trick.metric, 1.0 if trick.mode == "min" else -1.0)
        loader: Any = DataLoader(Batches([torch.zeros(1)], 1), batch_size=None)
        with trainer_of([copy], max_epochs=EPOCHS, num_sanity_val_steps=0) as trainer:
            trainer.fit(model, loader, loader)
    return draw_run(trick, model)


def draw_run(trick: Any, model: Scripted) -> Drawing:
    """Draw the curves of a run."""
    n, values = len(model.rates), model.script.tolist()
    best = (min if model.sign > 0 else max)(range(n), key=values.__getitem__)
    with style():
        figure = new_figure()
        rows = figure.subplots(1, 1 + (len({*model.rates}) > 1), squeeze=False)[0]
        rows[0].plot(range(EPOCHS), values, color=WITHOUT, linewidth=1, linestyle=(0, (3, 2)), label="if it went on")
        rows[0].plot(range(n), values[:n], color=WITH, label=f"with {type(trick).__name__}")
        rows[0].plot([best], [values[best]], "o", color=ELSE, label="best")
        if n < EPOCHS:
            rows[0].axvline(n - 1, color=ELSE, linewidth=1.2, label="stops")
        rows[0].set(ylabel=trick.metric or "training loss")
        if len(rows) > 1:
            rows[1].plot(range(n), model.rates, color=WITH)
            rows[1].set(ylabel="learning rate", yscale="log")
        for axes in rows:
            axes.set(xlabel="epoch", xlim=(0, EPOCHS))
        legend(figure, rows)
    return Drawing(figure, f"A made-up metric of {EPOCHS} epochs that stops getting better, and what {trick!r} does.")
