"""Reduce on plateau: divide the learning rate by ten when a metric has stopped improving.

Paper:    ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al.; NeurIPS 2012)
          https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks, section 5,
          where it was done by hand
Code:     torch.optim.lr_scheduler.ReduceLROnPlateau, which is called here
Equation: a value v is better if v < best (1 - threshold)   ("max": v > best (1 + threshold))
          after more than `patience` values in a row that were not better:  eta <- gamma eta
Shapes:   none
Defaults: gamma = .1 (Krizhevsky et al.); patience = 10, threshold = 1e-4 (torch's); metric = "val/loss", mode = "min"
          and warmup_epochs = 0: ours
Differs:  a warm-up may come first; torch skips a change of the rate by less than 1e-8, this does not
"""

import math
from typing import Any

import lightning as L
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from callbacks.frame import schedule
from callbacks.frame.decay import Decay
from callbacks.frame.needs import Range
from callbacks.frame.on_metric import OnMetric
from callbacks.frame.schedule import Time


class ReduceOnPlateau(OnMetric, Decay):
    """Set the learning rate of any LightningModule without a scheduler of its own. The run needs no end.

    Args:
        metric: name of a logged metric, read after each validation; None: mean loss of each training epoch.
        mode: "min" if less is better, "max" if more is (an accuracy).
        gamma: what the rate is multiplied by, in (0, 1).
        patience: number of validations (or epochs) in a row without a better value that are tolerated, >= 0.
        threshold: fraction of the best value by which a value must be better, in [0, 1].
        warmup_epochs: length of the warm-up: epochs, >= 0, or "0.1dur", "500st".
        warmup_kind: "linear", "multiplier" or "constant", see `WarmUp`.

    Raises:
        ValueError: for an argument out of its range, a metric that is not logged or a run without validation, or if
            something else sets the rate too.
    """

    needs = (Range("patience", 0), Range("threshold", 0, 1), Range("gamma", 0, 1, open_low=True, open_high=True))
    examples = ({"mode": "max", "gamma": 0.5, "patience": 2, "threshold": 0.01, "warmup_epochs": 0.5},)
    _plateau: ReduceLROnPlateau | None = None

    def __init__(
        self,
        metric: str | None = "val/loss",
        mode: str = "min",
        gamma: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        warmup_epochs: Time = 0,
        warmup_kind: str = "linear",
    ):
        OnMetric.__init__(self, metric, mode)
        Decay.__init__(self, warmup_epochs, warmup_kind)
        self.gamma = gamma
        self.patience = patience
        self.threshold = threshold

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit" or self._plateau is None:
            # torch's scheduler acts on an optimizer of its own with rate 1: that rate is our factor
            self._optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
            self._plateau = ReduceLROnPlateau(
                self._optimizer,
                "min" if self.mode == "min" else "max",
                self.gamma,
                self.patience,
                self.threshold,
                eps=0,
            )

    @property
    def plateau(self) -> ReduceLROnPlateau:
        """torch's scheduler, which `setup` makes."""
        if self._plateau is None:
            raise RuntimeError("ReduceOnPlateau has no state before `setup`: fit, or load a checkpoint into a Trainer")
        return self._plateau

    def length(self, trainer: L.Trainer) -> float:
        schedule.load_data(trainer)
        return math.inf

    def judge(self, trainer: L.Trainer, model: L.LightningModule, value: float) -> None:
        self.plateau.step(value)

    def factor(self, step: int) -> float:
        return self._optimizer.param_groups[0]["lr"]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "plateau": self.plateau.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.plateau.load_state_dict(state["plateau"])
        (self._optimizer.param_groups[0]["lr"],) = state["plateau"]["_last_lr"]
