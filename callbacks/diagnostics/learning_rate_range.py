"""Learning-rate range test: raise the rate step by step for a hundred steps, see where the loss falls fastest.

Paper:    Cyclical Learning Rates for Training Neural Networks (Smith; WACV 2017) https://arxiv.org/abs/1506.01186,
          section 3.3
Code:     lightning.pytorch.callbacks.LearningRateFinder, which is inside and puts the weights back afterwards
Equation: lr_t = low (high / low)^(t / steps); suggested is the rate of the steepest fall of the smoothed loss
Shapes:   none
Defaults: 100 steps from 1e-8 to 1, stopped where the loss is 4 times its least: Lightning's
Differs:  the paper raises the rate in a straight line and reads two bounds off the accuracy; today's practice, and
          Lightning, raise it by a factor and read one rate off the loss
"""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import LearningRateFinder

from callbacks._trick import needs_range
from callbacks.diagnostics._look import Look


class LearningRateRange(Look):
    """Runs the test before training and says what it suggests; the model's own rate stays.

    It goes before all other tricks, so that they find everything as it was: the test is of the plain network and its
    cross-entropy. In a run that is resumed it does nothing.

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
        needs_range(self, "steps", steps, 20, float("inf"))  # the finder leaves the first ten out
        self.low, self.high, self.steps, self.plot = low, high, steps, plot

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().setup(trainer, model, stage)
        trainer.callbacks.remove(self)
        trainer.callbacks.insert(0, self)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.suggestion = None
        if trainer.ckpt_path is not None or trainer.fast_dev_run:
            return
        finder = LearningRateFinder(self.low, self.high, self.steps, update_attr=False)
        finder.lr_find(trainer, model)
        found = finder.optimal_lr
        self.suggestion = found.suggestion()
        if self.plot:
            found.plot(suggest=self.suggestion is not None).savefig(self.plot)
        if self.suggestion is None:
            self.say(False, f"the loss did not fall at any rate from {self.low:g} to {self.high:g}: look at the data")
        else:
            self.say(True, f"the loss falls fastest at a rate of {self.suggestion:.2g}; a tenth of it is safe")
