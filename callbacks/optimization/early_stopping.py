"""Early stopping: end the run when a metric has stopped improving, and restore the best weights.

Paper:    Early Stopping - But When? (Prechelt; Neural Networks: Tricks of the Trade, 1998)
          https://doi.org/10.1007/3-540-49430-8_3
Code:     lightning.pytorch.callbacks.EarlyStopping, which keeps the last weights
Equation: a value v is better if v < best - min_delta   ("max": v > best + min_delta)
          stop after `patience` values in a row that were not better, or after a value that is not finite
Shapes:   none
Defaults: metric = "val/loss", mode = "min", patience = 10 validations (ours; Lightning's is 3), min_delta = 0
Differs:  Prechelt compares several stopping rules; this is the plain one of all libraries. As his, it restores the
          best weights. To stop when the training loss falls by less than .01 in an epoch:
          EarlyStopping(metric=None, patience=1, min_delta=0.01)
"""

import math
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from callbacks.frame.copies import copy_of
from callbacks.frame.needs import Range
from callbacks.frame.on_metric import OnMetric
from callbacks.frame.pair_needs import Claims
from zoo.frame.sharded import load_whole


class EarlyStopping(OnMetric):
    """Stop `fit` and restore the weights of the best value. Works on any LightningModule.

    A run that reaches its end restores the best weights too. A run that Ctrl-C or another callback stops keeps its last
    weights. `best` and `best_value` hold the best weights, on the CPU, and their value; checkpoints that hold
    more than weights hold both. `restored` says whether the weights at the end are older than the last ones. The
    average of an `EMA` and the optimizer stay as they were at the last step.

    Args:
        metric: name of a logged metric, read after each validation; None: mean loss of each training epoch.
        mode: "min" if less is better, "max" if more is (an accuracy).
        patience: number of validations (or epochs) without a better value after which training stops, >= 1.
        min_delta: by how much a value must be better than the best one, >= 0.

    Raises:
        ValueError: for an argument out of its range, a metric that is not logged or a run without validation, or a
            second EarlyStopping.
    """

    needs = (Claims("go back to the best weights"), Range("patience", 1), Range("min_delta", 0))
    reads_weights = True
    examples = ({"metric": "val/acc", "mode": "max", "patience": 3, "min_delta": 0.001},)
    best: dict[str, Tensor] | None = None
    best_value: float | None = None
    waited: int = 0
    stopped: bool = False
    restored: bool = False

    def __init__(self, metric: str | None = "val/loss", mode: str = "min", patience: int = 10, min_delta: float = 0.0):
        super().__init__(metric, mode)
        self.patience = patience
        self.min_delta = min_delta

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self.best, self.best_value, self.waited, self.stopped, self.restored = None, None, 0, False, False

    def judge(self, trainer: L.Trainer, model: L.LightningModule, value: float) -> None:
        if self._is_better(value):
            self.best, self.best_value, self.waited = copy_of(trainer, model), value, 0
            return
        self.waited += 1
        if self.waited >= self.patience or not math.isfinite(value):
            self.stopped = trainer.should_stop = True
            rank_zero_info(f"EarlyStopping: {self.metric or 'training loss'} is {value}, best was {self.best_value}")

    def _is_better(self, value: float) -> bool:
        if self.best_value is None or not math.isfinite(value):
            return math.isfinite(value)
        gain = self.best_value - value if self.mode == "min" else value - self.best_value
        return gain > self.min_delta

    def on_fit_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Restore the best weights, after all checkpoints are written: a resume needs the last weights."""
        if self.best is not None and (self.stopped or not trainer.should_stop):
            load_whole(model, self.best)
            self.restored = self.waited > 0

    def state_dict(self) -> dict[str, Any]:
        own = {"best": self.best, "best_value": self.best_value, "waited": self.waited, "stopped": self.stopped}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.best, self.best_value = state["best"], state["best_value"]
        self.waited, self.stopped = state["waited"], state["stopped"]
