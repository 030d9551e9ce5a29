"""Kind "diagram": which tensors of student and teacher meet in a term of the loss."""

from typing import Any

from matplotlib.axes import Axes

from zoo.frame.figures import ELSE, WITH, WITHOUT, Drawing, new_figure, style

STAGES = ("stage 1", "stage 2", "stage 3")
LEVELS = ("image", *STAGES, "logits", "loss")  # from bottom to top
HEIGHT = {level: i for i, level in enumerate(LEVELS)}


def draw(trick: Any) -> Drawing:
    """Draw the network as a tower, its partner beside it, and a line for each term, as `trick.meets` names them."""
    partner, meets = getattr(trick, "partner", "teacher"), trick.meets
    with style():
        figure = new_figure(6.4, 3.6)
        axes = figure.subplots()
        axes.set(xlim=(-0.25, 3.45), ylim=(-0.5, len(LEVELS) - 0.5))
        axes.axis("off")
        tower(axes, 0.25, "network" if not partner or partner == "labels" else "student", WITH)
        if partner and partner != "labels":
            tower(axes, 2.95, partner, ELSE)
        for level, mine, term, theirs in meets:
            meeting(axes, HEIGHT[level], mine, term, theirs)
    terms = "; ".join(f"{mine} and {theirs}: {term}" for _, mine, term, theirs in meets)
    return Drawing(figure, f"What meets in the loss of {type(trick).__name__}: {terms}.")


def tower(axes: Axes, x: float, name: str, colour: str) -> None:
    """Draw the layers of a network, from image to logits."""
    for level in LEVELS[:-1]:
        plain = level in ("image", "logits")
        box = {"boxstyle": "round,pad=0.35", "facecolor": "none", "edgecolor": WITHOUT if plain else colour}
        axes.text(x, HEIGHT[level], level, ha="center", va="center", bbox=box)
        if level != "image":
            arrow = {"arrowstyle": "->", "color": WITHOUT, "shrinkA": 9, "shrinkB": 9}
            axes.annotate("", (x, HEIGHT[level]), (x, HEIGHT[level] - 1), arrowprops=arrow)
    axes.text(x, HEIGHT["loss"] - 0.25, name, ha="center", va="center", weight="bold", color=colour)


def meeting(axes: Axes, y: float, mine: str, term: str, theirs: str) -> None:
    """Draw the line between two tensors, the term on it, and their names at its ends."""
    axes.plot([0.65, 2.55], [y, y], color=WITHOUT, linewidth=1, zorder=0)
    box = {"boxstyle": "round,pad=0.3", "facecolor": "none", "edgecolor": "none"}
    axes.text(1.6, y + 0.06, term, ha="center", va="bottom", bbox=box)
    axes.text(0.68, y - 0.06, mine, ha="left", va="top", fontsize=8)
    axes.text(2.52, y - 0.06, theirs, ha="right", va="top", fontsize=8)
