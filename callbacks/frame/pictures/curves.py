"""Helpers of the kinds that draw curves: axes side by side, lines with and without a trick."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from zoo.frame.figures import WITHOUT, Drawing, new_figure, style

Line = tuple[Sequence[float] | NDArray[np.float64], Sequence[float] | NDArray[np.float64]]
Lines = Mapping[str, Line]  # label -> x, y


def panels(panels: Mapping[str, Lines], xlabel: str, caption: str, **options: Any) -> Drawing:
    """Draw panels of curves side by side, with one legend.

    Args:
        panels: name of the vertical axis -> its curves. A curve called "without" is grey and dashed.
        xlabel: of the horizontal axis.
        caption: of the picture.
        options: of `Axes.set`, for every panel.
    """
    with style():
        figure = new_figure()
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (ylabel, lines) in zip(row, panels.items(), strict=True):
            curves(axes, lines)
            axes.set(xlabel=xlabel, ylabel=ylabel, **options)
        legend(figure, row)
    return Drawing(figure, caption)


def curves(axes: Axes, lines: Lines) -> None:
    """Draw curves. "without" is grey and dashed, the noisy weight thin and grey."""
    looks: dict[str, dict[str, Any]] = {
        "without": {"color": WITHOUT, "linestyle": (0, (3, 2)), "zorder": 1},
        "the weight": {"color": WITHOUT, "linewidth": 0.7},
    }
    for label, (x, y) in lines.items():
        axes.plot(x, y, label=label, **looks.get(label, {}))
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))
    low, high = axes.get_ylim()
    if high - low < 1e-6:
        axes.set_ylim(low - 0.5, high + 0.5)


def legend(figure: Figure, row: Sequence[Axes]) -> None:
    """Put one legend for all axes above them, where it covers no curve."""
    handles = {label: line for axes in row for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    named = {label: line for label, line in handles.items() if label}
    if named:
        figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=min(len(named), 5))


def values_and_slopes(function: Any, x: Sequence[float] | NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Return the values and the slopes of a function of one number, a tensor () -> a tensor (), at each x."""
    values, slopes = [], []
    for each in x:
        at = torch.tensor(float(each), requires_grad=True)
        y: Tensor = function(at)
        (slope,) = torch.autograd.grad(y, at)
        values.append(y.item())
        slopes.append(slope.item())
    return values, slopes
