"""Kind "rates": learning rate, weight decay and momentum of every part of a network over a run of 100 epochs."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from callbacks.frame.pictures.apart import apart, fresh, trainer_of
from callbacks.frame.pictures.curves import Lines, panels
from callbacks.frame.trick import Trick
from zoo import Classifier
from zoo.frame.figures import Drawing

EPOCHS, STEPS, BATCH = 100, 2, 512
RATES = {"lr": "learning rate", "weight_decay": "weight decay", "momentum": "momentum"}  # of a parameter group
BASE = {"lr": 1.0, "weight_decay": 1e-4, "momentum": 0.9}


class Black:
    """Black images without end; a loader takes any number of them for a batch."""

    def __len__(self) -> int:
        return STEPS * BATCH

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        return [torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])]


class Read(L.Callback):
    """Read the rates of every parameter at each optimizer step, after all other callbacks; 0 where it is frozen."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.rates: dict[str, dict[str, list[float]]] = {rate: {} for rate in RATES}

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Optimizer) -> None:
        names = {p: name for name, p in model.named_parameters()}
        self.epochs.append(trainer.global_step / STEPS)
        for group in optimizer.param_groups:
            for p in group["params"]:
                for rate, series in self.rates.items():
                    frozen = rate == "lr" and p.grad is None
                    series.setdefault(names[p], []).append(0.0 if frozen else group[rate])


def network() -> Classifier:
    """Return a network of four layers, three of them stages."""
    layers = {f"stage{i + 1}": nn.Conv2d(3, 3, 1) for i in range(3)}
    tail = {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": nn.Linear(3, 3)}
    stages = {name: name for name in layers}
    body = nn.Sequential(OrderedDict(layers | tail))
    options: Any = {"lr": BASE["lr"], "weight_decay": BASE["weight_decay"], "optimizer": "sgd"}
    return Classifier(body, 3, stages=stages, optimizer_options={"momentum": BASE["momentum"]}, **options)


def read(trick: Trick) -> Read:
    """Run a fresh copy of the trick, and return what was read."""
    with apart():
        read = Read()
        loader: Any = DataLoader(Black(), BATCH, collate_fn=lambda batch: batch)  # type: ignore[arg-type]
        with trainer_of([fresh(trick), read], max_epochs=EPOCHS) as trainer:
            trainer.fit(network(), loader)
    return read


def draw(trick: Trick) -> Drawing:
    """Draw the rates that the trick changes, a curve for each part of the network whose rate is its own."""
    found = read(trick)
    axes: dict[str, Lines] = {}
    for rate, series in found.rates.items():
        lines = {label: (found.epochs, values) for label, values in apart_from(series).items()}
        if len(lines) > 1 or any(value != BASE[rate] for _, values in lines.values() for value in values):
            own = {f"with {type(trick).__name__}": line for line in lines.values()}
            axes[RATES[rate]] = lines if len(lines) > 1 else own
    axes = {name: {**lines, "without": flat(name)} for name, lines in axes.items()}
    caption = f"A run of {EPOCHS} epochs of {STEPS} batches of {BATCH} images with {trick!r}, at a learning rate of 1."
    return panels(axes, "epoch", caption, xlim=(0, count_epochs(found)))


def count_epochs(found: Read) -> int:
    """Return how many epochs are drawn: all; a tenth where nothing changes after the first ones."""
    values = [series for rate in found.rates.values() for series in rate.values()]
    last = max((i for series in values for i in range(1, len(series)) if series[i] != series[i - 1]), default=EPOCHS)
    return EPOCHS // 10 if last < 0.06 * EPOCHS * STEPS else EPOCHS


def flat(name: str) -> tuple[list[float], list[float]]:
    """Return the constant rate of a run without the trick."""
    base = next(BASE[rate] for rate, its in RATES.items() if its == name)
    return [0, EPOCHS], [base, base]


def apart_from(series: dict[str, list[float]]) -> dict[str, list[float]]:
    """Join the parameters with the same curve; name each curve by its first layer, or by weights and biases."""
    found: dict[tuple[float, ...], list[str]] = {}
    for name, values in series.items():
        found.setdefault(tuple(values), []).append(name.removeprefix("network."))
    return {label(names): list(values) for values, names in found.items()}


def label(names: list[str]) -> str:
    """Name parameters: "stage1", "weights" or "biases"."""
    layers = list(dict.fromkeys(name.partition(".")[0] for name in names))
    kinds = {name.rpartition(".")[2] for name in names}
    if len(layers) > 1 and len(kinds) == 1:
        return {"weight": "weights", "bias": "biases"}.get(kinds.pop(), "")
    return layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
