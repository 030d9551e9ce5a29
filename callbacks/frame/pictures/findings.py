"""Kind "findings": what a diagnostic measures and says in a small run on handwritten digits."""

import re
import textwrap
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from matplotlib.axes import Axes
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

from callbacks.frame.pictures.apart import apart, fresh, trainer_of
from callbacks.frame.pictures.curves import panels
from zoo import Classifier
from zoo.frame.figures import WITH, Drawing, new_figure, style

EPOCHS, BATCH, TRAIN, SHOWN, RATE = 10, 64, 768, 5, 0.05
WIDTH = 100  # letters of a line of findings


class Losses(L.Callback):
    """Record the training loss of each step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, *_: Any) -> None:
        self.values.append(outputs["loss"].item())


def network(lr: float) -> Classifier:
    """Return a network of two convolutions for the digits, with this learning rate."""
    layers = OrderedDict[str, nn.Module]()
    for i, (before, after) in enumerate(((1, 16), (16, 32)), 1):
        layers[f"conv{i}"] = nn.Conv2d(before, after, 3, padding=1, stride=i, bias=False)
        layers[f"norm{i}"], layers[f"relu{i}"] = nn.BatchNorm2d(after), nn.ReLU()
    layers |= OrderedDict(pool=nn.AdaptiveAvgPool2d(2), flat=nn.Flatten(), head=nn.Linear(128, 10))
    return Classifier(nn.Sequential(layers), 10, stages={"stage1": "relu1", "stage2": "relu2"}, lr=lr)


def loaders() -> tuple[Any, Any]:
    """Return loaders of scikit-learn's digits, to train and to test."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    data: Any = [[*pair] for pair in zip(images, torch.tensor(digits.target), strict=True)]
    collate: Any = lambda items: [torch.stack(part) for part in zip(*items, strict=True)]  # noqa: E731
    train: Any = DataLoader(data[:TRAIN], BATCH, shuffle=True, collate_fn=collate)
    test: Any = DataLoader(data[TRAIN : TRAIN + 512], 256, collate_fn=collate)
    return train, test


def run(trick: Any, epochs: int = EPOCHS, lr: float = RATE) -> list[float]:
    """Train and test with the trick, and return the training losses."""
    with apart():
        losses, model, (train, test) = Losses(), network(lr), loaders()
        with trainer_of([trick, losses], max_epochs=epochs, check_val_every_n_epoch=1) as trainer:
            trainer.fit(model, train, test)
            trainer.test(model, test, verbose=False)
    return losses.values


def draw(trick: Any, lr: float = RATE) -> Drawing:
    """Draw what it measured, or the losses of the run, and below it what it said.

    Args:
        trick: a diagnostic.
        lr: learning rate of the run; a bad one shows what the diagnostic finds.
    """
    with apart():
        copy = fresh(trick)
    losses = run(copy, lr=lr)
    kinds = {re.sub(r"\d+", "", finding.text)[:20]: finding for finding in copy.findings}  # the last of its kind
    said = [line for finding in [*kinds.values()][:SHOWN] for line in lines(finding)]
    with style():
        figure = new_figure(6.6, 2.4 + 0.17 * len(said))
        axes = figure.subplots()
        what, values = getattr(copy, "measured", None) or ("training loss", losses)
        draw_numbers(axes, what, values)
        figure.supxlabel("\n".join(said), x=0.01, ha="left", fontsize=7.5)
    return Drawing(
        figure,
        f"{type(trick).__name__} in {EPOCHS} epochs on handwritten digits, with a rate of {lr:g}: {' '.join(said)}",
    )


def draw_numbers(axes: Axes, what: str, values: Any) -> None:
    """Draw numbers of parts of the network as dots from stem to head, or numbers of steps as a curve."""
    if isinstance(values, Mapping):
        names = [name.removeprefix("network.") for name in values]
        axes.plot(range(len(names)), [*values.values()], "o", color=WITH)
        axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
        axes.set(ylabel=what, ylim=(0, 1.1 * max(values.values(), default=0) or 1))
    else:
        axes.plot(range(1, len(values) + 1), values, color=WITH)
        axes.set(xlabel="step", ylabel=what)


def lines(finding: Any) -> list[str]:
    """Return a finding in lines, marked as good news or a problem."""
    return textwrap.wrap(f"{'ok:' if finding.well else 'look:'} {finding.text}", WIDTH, subsequent_indent="      ")


def draw_epochs(trick: Any, curves_of: Callable[[Any], Mapping[str, Sequence[float]]]) -> Drawing:
    """Draw curves over the epochs of a small run, and what the trick said of them.

    Args:
        trick: a diagnostic.
        curves_of: takes the copy of it that ran.
    """
    with apart():
        copy = fresh(trick)
    run(copy)
    lines = {name: (range(1, len(values) + 1), values) for name, values in curves_of(copy).items()}
    words = " ".join(finding.text for finding in copy.findings)
    return panels({"loss": lines}, "epoch", f"A run of {EPOCHS} epochs on handwritten digits. {trick!r} says: {words}")
