"""Kind of what a test finds: a confusion matrix."""

from typing import Any

from torch import Tensor

from callbacks.frame.pictures.apart import apart, fresh
from callbacks.frame.pictures.findings import run
from zoo.frame.figures import Drawing, new_figure, style

EPOCHS = 2  # few, so that some digits are confused


def confusion_of(trick: Any) -> Tensor:
    """Return the counts (K, K) that a fresh copy of the trick keeps of a small run."""
    with apart():
        copy = fresh(trick)
    run(copy, EPOCHS)
    found: Tensor = copy.confusion
    return found


def draw_confusion(trick: Any, counts: Tensor) -> Drawing:
    """Draw counts (K, K), rows the truth, each divided by the sum of its row."""
    rates = counts / counts.sum(1, keepdim=True).clamp_min(1)
    with style():
        figure = new_figure(4.6, 3.6)
        axes = figure.subplots()
        axes.grid(visible=False)
        image = axes.imshow(rates.numpy(), vmin=0, vmax=1, cmap="Blues")
        figure.colorbar(image, label="fraction of the true class")
        axes.set(xlabel="predicted class", ylabel="true class")
    right = counts.diag().sum() / counts.sum().clamp_min(1)
    return Drawing(figure, f"Confusion matrix that {trick!r} keeps of a test with {right:.0%} right.")
