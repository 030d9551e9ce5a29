"""Kind of what a trick steers: a number read at each step of a run, with the trick and without."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lightning as L

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.curves import Line, panels
from callbacks.frame.pictures.networks import MAKE, first_that_fits, size_of
from callbacks.frame.pictures.photographs import batch
from callbacks.frame.trick import Trick
from zoo import Classifier
from zoo.frame.figures import Drawing


class Look(L.Callback):
    """Read a number of the model after each step."""

    def __init__(self, read: Callable[[Any], float]):
        self.read, self.values = read, list[float]()

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        self.values.append(self.read(model))


def draw_steps(trick: Trick, ylabel: str, read: Callable[[Any], float], steps: int, small: bool = True) -> Drawing:
    """Draw a number over the steps of two runs.

    Args:
        trick: runs once; the other run is without it.
        ylabel: what the number is.
        read: takes the model.
        steps: length of the runs.
        small: on the small convolutional network; else on the first that the trick does not refuse.
    """
    lines: dict[str, Line] = {}
    make = MAKE[1]
    for label in (f"with {type(trick).__name__}", "without"):
        look = Look(read)
        tricks = [] if label == "without" else [fresh(trick)]
        with apart():
            if small or label == "without":
                run(make(), [*tricks, look], steps)
            else:
                make, _ = first_that_fits(partial(run, tricks=[*tricks, look], steps=steps))
        lines[label] = (range(1, steps + 1), look.values)
    return panels({ylabel: lines}, "step", f"{ylabel.capitalize()} over {steps} steps with {trick!r}, and without it.")


def run(model: Classifier, tricks: Sequence[L.Callback], steps: int) -> None:
    """Train on the photographs."""
    fit(model, batch(size_of(model)), tricks, steps)
