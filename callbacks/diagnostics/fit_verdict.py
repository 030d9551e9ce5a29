"""Fit verdict: over- or underfitting, read off the curves at the end, with the notes' causes and cures.

Paper:    none. The table is of the notes (001, training does not converge): what falls, what stays and what rises; the
          four cases that they leave out are ours. The gap between the accuracies of a run at rest is of the notes too
          (003, curves). On reading curves: A Disciplined Approach to Neural Network Hyper-Parameters (Smith; 2018)
          https://arxiv.org/abs/1803.09820
Code:     none
Equation: slope of the last half of a curve's epochs by least squares, over the curve's range: falls below -tau, rises
          above tau, else stays
Shapes:   the curves of train/loss and val/loss, one number an epoch
Defaults: tau .1 over that half; 4 epochs are needed; a gap is above .05: ours
Differs:  nothing to differ from
"""

import math

import lightning as L

from callbacks.frame.diagnostic import Look
from callbacks.frame.trick import needs_range

# (train, val): falls -1, stays 0, rises 1 -> well?, the notes' verdict and cure
OVERFIT = "overfitting: more data or augmentation, weight decay, dropout, a smaller network, or stop earlier"
VERDICTS = {
    (-1, -1): (True, "still learning: train longer"),
    (-1, 0): (False, OVERFIT),
    (-1, 1): (False, OVERFIT),
    (0, -1): (False, "only validation falls: look at the data, and at regularisation that acts in training alone"),
    (0, 0): (True, "at rest: lower the rate or the batch size to go on"),
    (0, 1): (False, "validation rises while training rests: stopped too late, or too much noise in the labels"),
    (1, -1): (False, "training rises and validation falls: look at the data"),
    (1, 0): (False, "training rises: the rate is too high for it"),
    (1, 1): (False, "both rise: the network, its rate or the data are unsuited"),
}
UNDERFIT = "if that is too seldom, underfitting: a larger network, longer training, less regularisation"
EPOCHS, GAP = 4, 0.05


def trend(curve: list[float], tau: float = 0.1) -> int:
    """-1 falls, 0 stays, 1 rises: the line through the last half of a curve, by the range of the whole."""
    tail = curve[len(curve) // 2 :]
    span, n = max(curve) - min(curve), len(tail)
    if span == 0:
        return 0
    centre, mean = (n - 1) / 2, sum(tail) / n
    slope = sum((i - centre) * (v - mean) for i, v in enumerate(tail)) / sum((i - centre) ** 2 for i in range(n))
    moved = slope * (n - 1) / span
    return 0 if abs(moved) <= tau else (1 if moved > 0 else -1)


class FitVerdict(Look):
    """Reads `train/loss` and `val/loss`, as every model of the zoo logs them, and judges at the end of the fit.

    After a resume the curves begin anew. Mixed or smoothed targets keep train/loss high: the trends count, not the gap.

    Args:
        tau: how much of the whole range a curve must move over its last half to count as moving, in (0, 1].

    Raises:
        ValueError: for a tau out of its range.
    """

    def __init__(self, tau: float = 0.1):
        needs_range(self, "tau", tau, 0, 1, open_low=True)
        self.tau, self._curves = tau, {"train/loss": [], "val/loss": []}

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().setup(trainer, model, stage)
        if stage == "fit":
            self._curves = {name: [] for name in self._curves}

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._read(trainer)  # of the epoch before: a model logs train/loss after the callbacks' on_train_epoch_end

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._read(trainer)
        train, val = self._curves.values()
        if len(train) < EPOCHS or len(val) < EPOCHS:
            return self.say(True, f"fewer than {EPOCHS} epochs with validation: no verdict")
        if not all(map(math.isfinite, (*train, *val))):
            return self.say(False, "a loss was no finite number: no verdict; NaNGuard stops there and says where from")
        at = trend(train, self.tau), trend(val, self.tau)
        well, text = VERDICTS[at]
        if at == (0, 0):
            well, gap = self._gap(trainer)
            text += gap
        low = val.index(min(val))
        self.say(well, f"{text}. val/loss was lowest, {val[low]:.3f}, after epoch {low}; it ended at {val[-1]:.3f}")

    @staticmethod
    def _gap(trainer: L.Trainer) -> tuple[bool, str]:
        """Over- or underfitting of a run at rest. Nothing of mixed targets, whose accuracy is another."""
        accuracies = [trainer.callback_metrics.get(name) for name in ("train/acc", "val/acc")]
        if None in accuracies:
            return True, ""
        train, val = (accuracy.item() for accuracy in accuracies)
        seen = f"; {train:.3f} of the training images are right and {val:.3f} of the others: "
        return (False, seen + OVERFIT) if train - val > GAP else (True, seen + UNDERFIT)

    def _read(self, trainer: L.Trainer) -> None:
        for name, curve in self._curves.items():
            if name in trainer.callback_metrics:
                curve.append(trainer.callback_metrics[name].item())
