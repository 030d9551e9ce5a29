"""Kind "parts": which branches, heads or nodes act for which image."""

from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.features import LEGEND, tile, to_colours
from callbacks.frame.pictures.networks import CLASSES, SIDE, first_that_fits, name_of
from callbacks.frame.pictures.photographs import sheet
from callbacks.frame.trick import Trick
from zoo.frame.figures import Sheet

IMAGES, STEPS, CELL = 12, 4, 18


class Outputs(L.Callback):
    """Record the outputs of every module in training. Two of these, around a trick, see what its hooks change."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for name, module in model.named_modules():
            module.register_forward_hook(lambda m, i, y, name=name: self.keep(name, y), prepend=False)

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.seen.clear()

    def keep(self, name: str, output: Any) -> None:
        """Keep a copy: some tricks change features in place."""
        if isinstance(output, Tensor):
            self.seen[name] = output.detach().clone()


class First(Outputs):
    """The recorder before the trick: its hooks are registered earlier."""

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_train_start(trainer, model)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        pass


def draw(trick: Trick) -> Sheet:
    """Draw a cell for each image and part: what its output is multiplied by."""
    with apart(1):
        first, last = First(), Outputs()
        generator = torch.Generator().manual_seed(0)
        data = [torch.randn(IMAGES, 3, SIDE, SIDE, generator=generator), torch.arange(IMAGES) % CLASSES]
        _, model = first_that_fits(lambda model: fit(model, data, [first, fresh(trick), last], STEPS))
    factors = [factor(first.seen[name], y) for name, y in last.seen.items() if not torch.equal(first.seen[name], y)]
    cells = tile(to_colours(np.concatenate(factors, 1)), CELL)
    caption = f"What {trick!r} multiplies each part of a {name_of(model)} by, for each of {IMAGES} images. {LEGEND}"
    words = f"{sum(f.shape[1] for f in factors)} parts, from stem to head"
    return Sheet(sheet([[cells]], [f"{IMAGES}\nimages"], [[words]]), caption, exact=True)


def factor(before: Tensor, after: Tensor) -> NDArray[np.float64]:
    """Return the quotient of two outputs (N, U, ...) or (N, ...), for each image and unit."""
    b, a = (x.double().flatten(2) if x.ndim > 2 else x.double()[..., None] for x in (before, after))
    quotient = (a * b).sum(2) / (b * b).sum(2).clamp_min(1e-12)
    same = (quotient - quotient[:, :1]).abs().amax() < 1e-4
    found: NDArray[np.float64] = (quotient[:, :1] if same else quotient).numpy()
    return found
