"""Kind of tricks that switch layers off for a step: a cell for each step and layer."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import numpy as np

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.features import tile, to_colours
from callbacks.frame.pictures.networks import first_that_fits, name_of, size_of
from callbacks.frame.pictures.photographs import batch, sheet
from callbacks.frame.trick import Trick
from zoo.frame.figures import Sheet

STEPS, CELL = 24, 20


class Switches(L.Callback):
    """Read the switches of a model at the start of each batch."""

    def __init__(self, read: Callable[[Any], Sequence[float]]):
        self.read, self.rows = read, list[Sequence[float]]()

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.rows.append(self.read(model))


def draw_switches(trick: Trick, read: Callable[[Any], Sequence[float]], what: str, key: str) -> Sheet:
    """Draw 24 steps (columns) of the layers of a network (rows).

    Args:
        trick: sets the switches at the start of a batch.
        read: takes the model, and returns 1 for each layer that works, 0 for one that is off.
        what: the layers.
        key: says the colours.
    """
    switches = Switches(read)
    with apart():
        _, model = first_that_fits(lambda model: fit(model, batch(size_of(model)), [fresh(trick), switches], STEPS))
    cells = tile(to_colours(np.array(switches.rows[-STEPS:]).T), CELL)
    caption = f"The {what} of a {name_of(model)} at {STEPS} steps with {trick!r}. {key}"
    return Sheet(sheet([[cells]], [what.replace(" ", "\n")], [[f"{STEPS} optimizer steps"]]), caption, exact=True)
