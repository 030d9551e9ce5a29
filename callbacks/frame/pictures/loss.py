"""Kind "loss": loss and gradient with a trick and without, over the logit of the true class."""

from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.batch import small_network
from callbacks.frame.pictures.curves import Lines, panels, swept
from callbacks.frame.pictures.photographs import batch
from callbacks.frame.trick import Trick
from zoo import Step
from zoo.frame.figures import Drawing

LOGITS = np.linspace(-6, 6, 61)
CLASSES = 3


class Sweep(L.Callback):
    """Give a trick steps of every logit, inside a run, and keep what it makes of their loss."""

    def __init__(self, trick: Any):
        self.trick = trick
        self.found: dict[int, tuple[list[float], list[float]]] = {}

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        def loss(k: int, z: Tensor) -> Tensor:
            step = step_of(k, z)
            self.trick.on_loss(model, step)
            return step.loss

        self.found = {k: swept(lambda z, k=k: loss(k, z), LOGITS) for k in range(CLASSES)}


def step_of(k: int, z: Tensor) -> Step:
    """Return a step of one image of class k, with logit z for it and 0 for the other classes."""
    logits, target = z * F.one_hot(torch.tensor([k]), CLASSES), torch.tensor([k])
    return Step(images=torch.zeros(1, 3, 8, 8), targets=target, logits=logits, loss=F.cross_entropy(logits, target))


def draw(trick: Trick) -> Drawing:
    """Draw one curve, or one a class where they differ."""
    with apart():
        copy = fresh(trick)
        sweep = Sweep(copy)
        fit(small_network(), batch(8), [copy, sweep])
    plain = swept(lambda z: step_of(0, z).loss, LOGITS)
    alike = all(np.allclose(found, sweep.found[0], 1e-3, 1e-3) for found in sweep.found.values())
    names = {0: f"with {type(trick).__name__}"} if alike else {k: f"class {k + 1}" for k in sweep.found}
    axes: dict[str, Lines] = {}
    for i, name in enumerate(("loss", "its gradient")):
        lines: Lines = {"without": (LOGITS, plain[i])}
        axes[name] = {**lines, **{names[k]: (LOGITS, sweep.found[k][i]) for k in names}}
    caption = f"Loss of one image, and its gradient, over the logit of its class; the other {CLASSES - 1} logits are 0"
    return panels(axes, "logit of the true class", f"{caption}. With {trick!r}, and the plain cross-entropy.")
