"""Kind of the range test: the smoothed loss over the learning rate."""

from typing import Any

from callbacks.frame.pictures.apart import apart, fresh
from callbacks.frame.pictures.findings import run
from zoo.frame.figures import ELSE, Drawing, new_figure, style

Curve = tuple[list[float], list[float], float | None]  # rates, losses, the suggested rate


def curve_of(trick: Any) -> Curve:
    """Return the curve of a test before a small run."""
    with apart():
        copy = fresh(trick, plot=None)
    run(copy)
    found: Curve = copy.curve
    return found


def draw_range(rates: list[float], losses: list[float], suggestion: float | None) -> Drawing:
    """Draw the curve, and the suggested rate."""
    with style():
        figure = new_figure()
        axes = figure.subplots()
        axes.semilogx(rates, losses)
        axes.set(xlabel="learning rate", ylabel="smoothed loss")
        if suggestion is not None:
            axes.axvline(suggestion, color=ELSE, linestyle="--", label=f"suggested: {suggestion:.2g}")
            axes.legend()
    return Drawing(figure, "Loss over the learning rate, which is raised at each step; it falls fastest at the line.")
