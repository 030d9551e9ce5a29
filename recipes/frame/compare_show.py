"""Show a comparison: a table, and a picture with a dot for each seed and a bar for each interval."""

import base64
import html
import io
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recipes.frame.compare_statistics import Difference
from zoo.frame.figures import ELSE, WITH, WITHOUT, use_style
from zoo.frame.shown_figure import ShownFigure

COLOURS = {"better": WITH, "worse": ELSE}  # else grey


class Row(Protocol):
    """The shown values of an arm."""

    name: str
    accuracies: dict[int, float]
    difference: Difference | None
    advice: str
    seconds: float

    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def mean(self) -> float: ...  # noqa: D102
    @property
    def sd(self) -> float: ...  # noqa: D102
    @property
    def verdict(self) -> str: ...  # noqa: D102


class Shown:
    """A result that shows itself: `print(it)`, `it.table()`, `it.plot("file.png")`, and automatically in notebooks."""

    arms: Sequence[Row]
    method: str
    goal: str

    def heads(self) -> tuple[str, ...]:
        """Return the words over `rows`."""
        what = {"acc": "accuracy"}.get(name := self.goal.rpartition("/")[2], name)
        return "arm", f"{what} %", "n", "difference", "verdict", "seconds"

    def rows(self) -> list[tuple[str, ...]]:
        """One tuple of words an arm, under `heads`: percent, and differences in points."""
        found: list[tuple[str, ...]] = []
        for arm in self.arms:
            words = "; ".join(filter(None, [arm.verdict, arm.advice]))
            found.append((arm.name, average(arm), str(arm.n), points(arm.difference), words, f"{arm.seconds:.0f}"))
        return found

    def table(self) -> Table:
        """Return a table for the terminal."""
        table = Table(caption=f"± after a mean: standard deviation over seeds; interval: {self.method}")
        for head in self.heads():
            table.add_column(head, justify="left" if head in ("arm", "verdict") else "right")
        for row in self.rows():
            table.add_row(*map(escape, row))
        return table

    def __str__(self) -> str:
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(self.table())
        return console.export_text()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        picture = io.BytesIO()
        self.plot().savefig(picture, format="png", dpi=110)
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows()]
        heads = "".join(f"<th>{head}</th>" for head in self.heads())
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        image = base64.b64encode(picture.getvalue()).decode()
        caption = f"<p>interval: {html.escape(self.method)}</p>"
        return f'<table><tr>{heads}</tr>{body}</table>{caption}<img src="data:image/png;base64,{image}"/>'

    @use_style
    def plot(self, path: Path | str | None = None) -> ShownFigure:
        """Draw a row an arm, the best on top: each seed a circle, the interval a pale bar, the mean a tick.

        Args:
            path: where to save it; None: nowhere.
        """
        base, *rest = self.arms
        rest = sorted(rest, key=lambda arm: arm.mean if isfinite(arm.mean) else -1.0)
        figure = ShownFigure(figsize=(7, 1.2 + 0.4 * max(len(rest), 1)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=WITHOUT, linewidth=0.8)
        for y, arm in enumerate(rest):
            colour = COLOURS.get(arm.verdict, WITHOUT)
            shared = [seed for seed in arm.accuracies if seed in base.accuracies]
            dots = [100 * (arm.accuracies[seed] - base.accuracies[seed]) for seed in shared]
            if arm.difference and isfinite(arm.difference.half):
                mean, half = 100 * arm.difference.mean, 100 * arm.difference.half
                axes.plot([mean - half, mean + half], [y, y], color=colour, alpha=0.3, linewidth=9)
                axes.plot([mean, mean], [y - 0.22, y + 0.22], color=colour, linewidth=2)
            axes.plot(dots, [y] * len(dots), "o", markersize=4, markerfacecolor="none", color=colour)
            words = f" {points(arm.difference)} {arm.verdict}"
            axes.annotate(words, (1, y), xycoords=("axes fraction", "data"), va="center", color=colour)
        axes.set_yticks(range(len(rest)), [arm.name for arm in rest])
        axes.set_ylim(-0.6, max(len(rest), 1) - 0.4)
        axes.set_xlabel(
            f"points against {base.name} ({average(base)} %, {base.n} seeds)\nbar: {self.method}", fontsize=8
        )
        if path is not None:
            figure.savefig(path, dpi=110)
        return figure


def average(arm: Row) -> str:
    """Write the mean of an arm and its standard deviation, in percent."""
    if not isfinite(arm.mean):
        return "none trained"
    return f"{100 * arm.mean:.2f}" + (f" ± {100 * arm.sd:.2f}" if isfinite(arm.sd) else "")


def points(found: Difference | None) -> str:
    """Write a difference of accuracies and its interval in percentage points."""
    if found is None or not isfinite(found.mean):
        return ""
    half = f" ± {100 * found.half:.2f}" if isfinite(found.half) else " ± ?"
    return f"{100 * found.mean:+.2f}{half}"
