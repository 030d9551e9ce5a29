"""Kind of tricks that judge two numbers: the area in which they warn."""

from collections.abc import Callable

import numpy as np

from zoo.frame.figures import ELSE, Drawing, new_figure, style

POINTS = 101


def draw_area(verdict: Callable[[float, float], bool], names: tuple[str, str], caption: str) -> Drawing:
    """Draw where a verdict on two numbers from 0 to 1 is true.

    Args:
        verdict: of the two numbers.
        names: of the horizontal and the vertical axis.
        caption: of the picture.
    """
    ticks = np.linspace(0, 1, POINTS)
    found = np.array([[verdict(x, y) for x in ticks.tolist()] for y in ticks.tolist()])
    with style():
        figure = new_figure(4.6, 3)
        axes = figure.subplots()
        axes.contourf(ticks, ticks, found.astype(float), levels=[0.5, 1.5], colors=[ELSE], alpha=0.6)
        axes.text(0.97, 0.5, "quiet", ha="right")
        axes.annotate("warns", (0.7, 0.06), (0.7, 0.3), arrowprops={"arrowstyle": "->", "color": ELSE}, ha="center")
        axes.set(xlabel=names[0], ylabel=names[1], xlim=(0, 1), ylim=(0, 1))
    return Drawing(figure, caption)
