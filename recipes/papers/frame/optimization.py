"""Optimizers as their framework's defaults have them, and learning rates as functions of the step.

"fused" computes the same in one pass: of a step of a small network, Adam's many small ones are a third.
"""

from collections.abc import Callable
from typing import Any

import lightning as L

from callbacks.frame.decay import Decay
from callbacks.frame.trick import Trick


def sgd(lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False) -> dict[str, Any]:
    """Return training arguments of a `Classifier` for torch's SGD."""
    options = {"momentum": momentum, "fused": True}
    kind = "sgd" if nesterov else "momentum"
    return {"optimizer": kind, "lr": lr, "weight_decay": weight_decay, "optimizer_options": options}


def adam(lr: float = 1e-3, eps: float = 1e-8, **options: Any) -> dict[str, Any]:
    """Return training arguments of a `Classifier` for Adam without weight decay. Keras has eps 1e-7."""
    return {
        "optimizer": "adam",
        "lr": lr,
        "weight_decay": 0.0,
        "optimizer_options": {"eps": eps, "fused": True, **options},
    }


def adamw(lr: float, weight_decay: float = 0.01) -> dict[str, Any]:
    """Return training arguments of a `Classifier` for torch's AdamW, with its defaults."""
    return {"optimizer": "adamw", "lr": lr, "weight_decay": weight_decay, "optimizer_options": {"fused": True}}


class Rate(Decay):
    """Set the learning rate to the model's times `curve(t, T)` at optimizer step t of T.

    Args:
        name: tells two of a kind apart.
        curve: the factor, >= 0.
    """

    def __init__(self, name: str, curve: Callable[[int, float], float]):
        super().__init__()
        self.name, self.curve = name, curve

    def factor(self, step: int) -> float:
        """Return the factor at a step."""
        return self.curve(step, self.total)


def ramp(epoch: float, end: int) -> float:
    """Return 0 in the first epoch and before, 1 from epoch `end` on, and a line in between."""
    return min(max((epoch - 1) / (end - 1), 0.0), 1.0)


class Momentum(Trick):
    """Raise the momentum of SGD from .5 in the first epoch along a line, as Pylearn2's MomentumAdjustor does.

    Args:
        last: momentum at its end, in [.5, 1).
        end: epoch of the end.
    """

    def __init__(self, last: float, end: int):
        self.last, self.end = last, end

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Set the momentum."""
        for group in trainer.optimizers[0].param_groups:
            group["momentum"] = 0.5 + (self.last - 0.5) * ramp(trainer.current_epoch, self.end)
