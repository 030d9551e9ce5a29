"""Growth of time and memory, from the last run of benchmarks/growth.py: slopes, and a figure.

Command: python -m recipes.frame.growth docs/growth.svg
"""

import math
import sys
from typing import TYPE_CHECKING

from recipes.frame import records
from zoo.frame.figures import ELSE, WITH, Drawing, new_figure, use_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = dict[int, float]  # size -> figure
ROWS = {  # row -> label of its axis, what is timed, figures
    "images": ("images", "a batch", ("first", "seconds", "MB")),
    "classes": ("classes", "a step", ("seconds", "MB")),
    "pixels": ("side in pixels", "a step", ("seconds", "MB")),
    "tricks": ("tricks", "a step", ("seconds", "MB")),
}


def curve(metrics: dict[str, float], row: str, figure: str) -> Curve:
    """Return one figure of a row, by size."""
    found = {}
    for name, value in metrics.items():
        kind, size, what = name.split(" ")
        if (kind, what) == (row, figure):
            found[int(size)] = value
    return found


def slope(points: Curve) -> float:
    """Return the exponent between the two largest sizes: 1 where the figure doubles with the size, 0 where it stays."""
    (a, low), (b, high) = sorted(points.items())[-2:]
    return math.log(high / low) / math.log(b / a)


def last() -> dict[str, float] | None:
    """Return the metrics of the last run; None without one."""
    runs = records.read("growth")
    return runs[-1]["metrics"] if runs else None


@use_style
def draw(metrics: dict[str, float]) -> Drawing:
    """Draw the four rows: milliseconds above, megabytes below."""
    figure = new_figure(9.6, 4.4)
    axes = figure.subplots(2, len(ROWS))
    for column, (row, (label, per, _)) in zip(axes.T, ROWS.items(), strict=True):
        _panel(column[0], curve(metrics, row, "seconds"), WITH, 1e3)
        _panel(column[1], curve(metrics, row, "MB"), ELSE, 1)
        column[0].set_title(f"ms of CPU, {per}")
        column[1].set_title("MB more at the peak")
        column[1].set_xlabel(label)
        for axis in column if row != "tricks" else ():
            axis.set_xscale("log")
            axis.minorticks_off()
            if row == "pixels":
                axis.set_xticks(sizes := sorted(curve(metrics, row, "MB")), map(str, sizes))
    return Drawing(figure, "CPU time of a batch or step, and memory at its peak, by images, classes, pixels and tricks")


def _panel(axis: "Axes", points: Curve, colour: str, factor: float) -> None:
    sizes = sorted(points)
    axis.plot(sizes, [factor * points[size] for size in sizes], "o-", color=colour)
    axis.set_ylim(0, 1.15 * factor * max(points.values()))


def main() -> None:
    """Write the figure."""
    metrics = last()
    if metrics is None:
        sys.exit("nothing was measured: run python benchmarks/growth.py first")
    print(draw(metrics).save(sys.argv[1]))


if __name__ == "__main__":
    main()
