"""Kind "loss": loss and gradient with a trick and without, over the logit of the true class."""

from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.batch import small_network
from callbacks.frame.pictures.curves import Lines, panels, values_and_slopes
from callbacks.frame.pictures.photographs import batch
from callbacks.frame.trick import Trick, parameters
from zoo import Step
from zoo.frame.figures import Drawing

LOGITS = np.linspace(-6, 6, 61)
CLASSES = 3


class Sweep(L.Callback):
    """Give a trick steps of every logit, inside a run, and keep what it makes of their loss."""

    def __init__(self, trick: Any, classes: int):
        self.trick, self.classes = trick, classes
        self.found: dict[int, tuple[list[float], list[float]]] = {}

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        def loss(k: int, z: Tensor) -> Tensor:
            step = step_of(k, z, self.classes)
            self.trick.on_loss(model, step)
            return step.loss

        classes = range(min(self.classes, CLASSES))
        self.found = {k: values_and_slopes(lambda z, k=k: loss(k, z), LOGITS) for k in classes}


def step_of(k: int, z: Tensor, classes: int = CLASSES) -> Step:
    """Return a step of one image of class k, with logit z for it and 0 for the other classes."""
    logits, target = z * F.one_hot(torch.tensor([k]), classes), torch.tensor([k])
    return Step(images=torch.zeros(1, 3, 8, 8), targets=target, logits=logits, loss=F.cross_entropy(logits, target))


def draw(trick: Trick) -> Drawing:
    """Draw one curve, or one for each of the first three classes where they differ."""
    kind: Callable[..., Trick] = type(trick)
    given = [getattr(trick, name) for name in parameters(kind)]
    classes = next((len(value) for value in given if isinstance(value, tuple)), CLASSES)  # a number for each class
    with apart():
        copy = fresh(trick)
        sweep = Sweep(copy, classes)
        images, targets = batch(8)
        fit(small_network(classes), [images, targets % classes], [copy, sweep])
    plain = values_and_slopes(lambda z: step_of(0, z, classes).loss, LOGITS)
    alike = all(np.allclose(found, sweep.found[0], 1e-3, 1e-3) for found in sweep.found.values())
    names = {0: f"with {type(trick).__name__}"} if alike else {k: f"class {k + 1}" for k in sweep.found}
    axes: dict[str, Lines] = {}
    for i, name in enumerate(("loss", "its gradient")):
        lines: Lines = {"without": (LOGITS, plain[i])}
        axes[name] = {**lines, **{names[k]: (LOGITS, sweep.found[k][i]) for k in names}}
    caption = f"Loss of one image, and its gradient, over the logit of its class; the other {classes - 1} logits are 0"
    return panels(axes, "logit of the true class", f"{caption}. With {trick!r}, and the plain cross-entropy.")
