"""Learning-rate range test: raise the learning rate at every step, and find where the loss falls fastest.

Paper:    Cyclical Learning Rates for Training Neural Networks (Smith; WACV 2017) https://arxiv.org/abs/1506.01186,
          section 3.3
Code:     lightning.pytorch.callbacks.LearningRateFinder, used here; it restores the weights afterwards
Equation: lr_t = low (high / low)^(t / steps);   l_t = sum_{i <= t} .98^(t - i) L_i / sum_{i <= t} .98^(t - i);
          the suggestion is the lr_t with the least dl / d ln lr, over the steps 11 to the last but one
Shapes:   none
Defaults: low = 1e-8, high = 1, steps = 100, of which the first 10 and the last do not count: Lightning's
Differs:  the paper raises the rate linearly and reads two bounds off the accuracy; Lightning and today's practice raise
          it by a constant factor and read one rate off the loss. Lightning 2.6 differentiates by lr, which favours
          small rates, and its smoothed loss starts at half of the first loss; here both are corrected. The test stops
          at a loss 8 times Lightning's least, which is 4 times the first loss
"""

import math
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateFinder

from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.needs import Range
from zoo.frame.figures import Picture
from zoo.frame.run import callbacks_of

BETA, SKIPPED = 0.98, 10
STOP = 8.0  # times the least smoothed loss; Lightning's first one is half the first loss


def correct_bias(losses: Sequence[float]) -> list[float]:
    """Return l_t of the equation above from Lightning's smoothed losses, which divide by one step too many."""
    return [loss * (1 - BETA ** (t + 1)) / (1 - BETA**t) for t, loss in enumerate(losses, 1)]


def steepest_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate at which the loss falls fastest, or None if it falls at none.

    Args:
        rates: learning rates that grow by a constant factor.
        losses: smoothed loss at each rate; values that are not finite are skipped.
    """
    pairs = zip(rates[SKIPPED:-1], losses[SKIPPED:-1], strict=True)
    seen = [(rate, loss) for rate, loss in pairs if math.isfinite(loss)]
    if len(seen) < 2:
        return None
    slopes = torch.gradient(torch.tensor([loss for _, loss in seen], dtype=torch.float64))[0]
    return seen[int(slopes.argmin())][0] if slopes.min() < 0 else None


class LearningRateRange(Diagnostic):
    """Run the test before training, and report its suggestion. The model keeps its own learning rate.

    The test runs before all other tricks, on the plain network with its cross-entropy, and leaves no trace. It is
    skipped when a run is resumed, and with several optimizers or manual optimization.

    Args:
        low: first rate, 0 < low < high.
        high: last rate.
        steps: number of steps, >= 20.
        plot: file for a figure of the loss against the rate, such as "lr.png"; None: no figure.

    Attributes:
        suggestion: the suggested rate of the last test; None if the loss never fell.

    Raises:
        ValueError: if an argument is out of its range.
    """

    needs = (Range("low", 0, "high", open_low=True), Range("steps", 20))
    whole_weights = True
    examples = ({"steps": 20, "low": 1e-05},)
    suggestion: float | None = None
    curve: tuple[list[float], list[float], float | None] | None = None

    def __init__(self, low: float = 1e-8, high: float = 1.0, steps: int = 100, plot: str | Path | None = None):
        self.low, self.high, self.steps, self.plot = low, high, steps, plot

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        callbacks = callbacks_of(trainer)
        callbacks.remove(self)
        callbacks.insert(0, self)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.suggestion = None
        if trainer.ckpt_path is not None or getattr(trainer, "fast_dev_run", False):
            return
        if len(trainer.optimizers) != 1 or not model.automatic_optimization:
            return self.say(True, "no range test: it needs a single optimizer and automatic optimization")
        finder = LearningRateFinder(self.low, self.high, self.steps, early_stop_threshold=STOP, update_attr=False)
        untrained = vars(model).get("untrained")
        finder.lr_find(trainer, model)
        if untrained is not None:  # it is not in the checkpoint that the finder restores
            model.untrained = untrained
        trainer.ckpt_path = None  # the finder leaves the path of its own, deleted checkpoint
        assert finder.optimal_lr is not None
        curve, own = finder.optimal_lr.results, trainer.optimizers[0].param_groups[0]["lr"]
        self._judge(curve["lr"], correct_bias(curve["loss"]), own)

    def _judge(self, rates: list[float], losses: list[float], own: float) -> None:
        self.suggestion = steepest_rate(rates, losses)
        self.curve = rates, losses, self.suggestion
        if self.plot:
            self.draw().save(self.plot)
        stopped = bool(losses) and not losses[-1] <= STOP / 2 * min(losses)  # also true for NaN
        if len(losses) < self.steps and not stopped:  # the test ends with the run's last epoch
            self.say(True, f"no range test: the run has only {len(losses)} of the {self.steps} steps")
        elif self.suggestion is None:
            self.say(False, f"the loss fell at no rate from {self.low:g} to {self.high:g}: check the data")
        else:
            fastest = f"the loss falls fastest at a learning rate of {self.suggestion:.2g}; a tenth of it is safe"
            self.say(True, f"{fastest}; the model has {own:.2g}")

    def draw(self) -> Picture:
        """Draw the smoothed loss over the rate in the last test; before one, in a small run."""
        from callbacks.frame.pictures.range_test import curve_of, draw_range

        return draw_range(*(self.curve or curve_of(self)))
