"""Kind of tricks that look at an image several times: its views side by side."""

from collections.abc import Callable

from torch import Tensor

from callbacks.frame.pictures.photographs import batch, picture_of, sheet
from callbacks.frame.trick import Trick
from zoo.frame.figures import Sheet

SIDE, ROW = 96, 5


def draw_views(trick: Trick, views_of: Callable[[Tensor], Tensor]) -> Sheet:
    """Draw the views of a photograph of 96 pixels.

    Args:
        trick: for the caption.
        views_of: images (N, C, H, W) -> views (N, V, C, H, W).
    """
    views = [picture_of(view) for view in views_of(batch(SIDE)[0][:1])[0]]
    rows = [views[i : i + ROW] for i in range(0, len(views), ROW)]
    names = [[f"view {i * ROW + j + 1}" for j in range(len(row))] for i, row in enumerate(rows)]
    return Sheet(sheet(rows, [""] * len(rows), names), f"The views of a photograph whose mean is taken by {trick!r}.")
