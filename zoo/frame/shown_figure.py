"""A figure that notebooks show, though pyplot is not used."""

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A matplotlib figure that every notebook shows, from the first cell of a fresh kernel on.

    A plain `Figure` is shown only after pyplot was imported: pyplot tells the notebook how.
    """

    def _repr_png_(self) -> bytes:
        self.savefig(file := io.BytesIO(), format="png")
        return file.getvalue()
