"""Learning-rate range test: raise the rate step by step for a hundred steps, see where the loss falls fastest.

Paper:    Cyclical Learning Rates for Training Neural Networks (Smith; WACV 2017) https://arxiv.org/abs/1506.01186,
          section 3.3
Code:     lightning.pytorch.callbacks.LearningRateFinder, which is inside and puts the weights back afterwards
Equation: lr_t = low (high / low)^(t / steps);  l_t = sum_{i <= t} .98^(t - i) L_i / sum_{i <= t} .98^(t - i);
          suggested is lr_t of the least dl / d ln lr, in steps 11 to the last but one
Shapes:   none
Defaults: 100 steps from 1e-8 to 1, the first 10 and the last left out: Lightning's
Differs:  the paper raises the rate in a straight line and reads two bounds off the accuracy; today's practice, and
          Lightning, raise it by a factor and read one rate off the loss. Lightning 2.6 takes the slope by lr, not by
          its logarithm, so that small rates win by far; and begins the smoothed loss at half of the first. Both are
          mended here. It stops where the loss is 8 times the least of its own, so 4 times the first
"""

import math
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateFinder
from matplotlib.figure import Figure

from callbacks.frame.diagnostic import Look
from callbacks.frame.trick import needs_range

BETA, SKIPPED = 0.98, 10
STOP = 8.0  # times the least loss; the first counts for half


def whole(losses: Sequence[float]) -> list[float]:
    """l of the equation above, from Lightning's, which divides by the sum of one step too many."""
    return [loss * (1 - BETA ** (t + 1)) / (1 - BETA**t) for t, loss in enumerate(losses, 1)]


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate where the loss falls fastest, of rates that grow by one factor; None: it falls nowhere."""
    pairs = zip(rates[SKIPPED:-1], losses[SKIPPED:-1], strict=True)
    seen = [(rate, loss) for rate, loss in pairs if math.isfinite(loss)]
    if len(seen) < 2:
        return None
    slopes = torch.gradient(torch.tensor([loss for _, loss in seen], dtype=torch.float64))[0]
    return seen[int(slopes.argmin())][0] if slopes.min() < 0 else None


class LearningRateRange(Look):
    """Runs the test before training and says what it suggests; the model's own rate stays.

    It goes before all other tricks, so that they find everything as it was: the test is of the plain network and its
    cross-entropy. In a run that is resumed it does nothing, nor with several optimizers, or one stepped by hand.

    Args:
        low: the rate to begin with, 0 < low < high.
        high: the rate to end with.
        steps: of the test, >= 20.
        plot: file for the curve of loss by rate, such as "lr.png"; None: none.

    Attributes:
        suggestion: the rate of the last test, or None if the loss never fell.

    Raises:
        ValueError: for an argument out of its range.
    """

    suggestion: float | None = None

    def __init__(self, low: float = 1e-8, high: float = 1.0, steps: int = 100, plot: str | Path | None = None):
        needs_range(self, "low", low, 0, high, open_low=True)
        needs_range(self, "steps", steps, 20, float("inf"))  # the first ten are left out
        self.low, self.high, self.steps, self.plot = low, high, steps, plot

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().setup(trainer, model, stage)
        trainer.callbacks.remove(self)
        trainer.callbacks.insert(0, self)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.suggestion = None
        if trainer.ckpt_path is not None or trainer.fast_dev_run:
            return
        if len(trainer.optimizers) != 1 or not model.automatic_optimization:
            return self.say(True, "no test of rates: there is one only of a single optimizer that Lightning steps")
        finder = LearningRateFinder(self.low, self.high, self.steps, early_stop_threshold=STOP, update_attr=False)
        untrained = vars(model).get("untrained")
        finder.lr_find(trainer, model)
        if untrained is not None:  # not in the checkpoint that the finder goes back to
            model.untrained = untrained
        trainer.ckpt_path = None  # that checkpoint, which is gone: this run is resumed from none
        found, own = finder.optimal_lr.results, trainer.optimizers[0].param_groups[0]["lr"]
        self._judge(found["lr"], whole(found["loss"]), own)

    def _judge(self, rates: list[float], losses: list[float], own: float) -> None:
        self.suggestion = steepest(rates, losses)
        if self.plot:
            self._draw(rates, losses).savefig(self.plot)
        stopped = bool(losses) and not losses[-1] <= STOP / 2 * min(losses)  # or not a number
        if len(losses) < self.steps and not stopped:  # the test ends with the run's last epoch
            self.say(True, f"no test of rates: the run has only {len(losses)} of the {self.steps} steps")
        elif self.suggestion is None:
            self.say(False, f"the loss did not fall at any rate from {self.low:g} to {self.high:g}: look at the data")
        else:
            fastest = f"the loss falls fastest at a rate of {self.suggestion:.2g}; a tenth of it is safe"
            self.say(True, f"{fastest}, the model has {own:.2g}")

    def _draw(self, rates: list[float], losses: list[float]) -> Figure:
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.semilogx(rates, losses)
        axes.set(xlabel="learning rate", ylabel="smoothed loss")
        if self.suggestion is not None:
            axes.axvline(self.suggestion, color="C1", linestyle="--", label=f"suggested: {self.suggestion:.2g}")
            axes.legend()
        return figure
