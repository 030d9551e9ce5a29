"""Kind "modules": the modules of a network that a trick replaces, adds or freezes."""

import textwrap
from collections import Counter

from torch import nn

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.networks import SIDE, first_that_fits, name_of, size_of
from callbacks.frame.pictures.photographs import batch
from callbacks.frame.trick import Trick
from zoo import Classifier
from zoo.frame.figures import WITH, WITHOUT, Drawing, new_figure, style

SHOWN = 6  # kinds of change; the others are counted


def draw(trick: Trick) -> Drawing:
    """Draw the modules before and after, once for each kind, with their number."""
    with apart():
        before: dict[str, str] = {}
        copy = fresh(trick, image_size=SIDE)

        def run(model: Classifier) -> None:
            before.clear()
            before.update(words(model))
            fit(model, batch(size_of(model)), [copy])

        _, model = first_that_fits(run)
        after = words(model)
    pairs = Counter((before.get(path, "nothing"), text) for path, text in after.items() if before.get(path) != text)
    rows = [(old, new, count) for (old, new), count in pairs.most_common(SHOWN)]
    return draw_list(rows, f"Modules of a {name_of(model)} before {trick!r} and after it.")


def words(model: nn.Module) -> dict[str, str]:
    """Return what each module without children is, by path."""
    return {path: repr(m).replace("\n", " ") for path, m in model.named_modules() if not [*m.children()]}


def draw_list(rows: list[tuple[str, str, int]], caption: str) -> Drawing:
    """Draw rows of boxes: before, an arrow with the number of places, after."""
    with style():
        lines = [(textwrap.fill(old, 40), textwrap.fill(new, 40), count) for old, new, count in rows]
        heights = [0.28 + 0.17 * max(old.count("\n"), new.count("\n")) for old, new, _ in lines]
        figure = new_figure(6.6, sum(heights) + 0.16 * len(lines) + 0.3)
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(sum(heights) + 0.16 * len(lines), -0.2))
        axes.axis("off")
        y = 0.0
        for (old, new, count), height in zip(lines, heights, strict=True):
            middle = y + height / 2
            for x, text, colour in ((0.0, old, WITHOUT), (0.56, new, WITH)):
                box = {"boxstyle": "round,pad=0.35", "facecolor": "none", "edgecolor": colour}
                axes.text(x + 0.02, middle, text, va="center", fontsize=7.5, family="monospace", bbox=box)
            arrow = {"arrowstyle": "->", "color": WITHOUT}
            axes.annotate("", (0.545, middle), (0.475, middle), arrowprops=arrow)
            axes.text(0.51, middle - 0.05, f"×{count}", ha="center", va="bottom", fontsize=8)
            y += height + 0.16
    return Drawing(figure, caption)
