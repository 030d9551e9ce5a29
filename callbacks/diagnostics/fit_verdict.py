"""Fit verdict: judge at the end of a fit from the loss curves whether it overfits or underfits, and suggest a cure.

Paper:    none; the table of verdicts is ours. On reading curves: A Disciplined Approach to Neural Network
          Hyper-Parameters (Smith; 2018) https://arxiv.org/abs/1803.09820
Code:     none
Equation: change = (least-squares slope over the second half of a curve's epochs) x (number of its epochs - 1) /
          (range of the whole curve);   the curve falls if change < -tau, rises if change > tau, else is flat
Shapes:   the curves of train/loss and val/loss, one number per epoch
Defaults: tau = .1, at least 4 epochs, overfitting from an accuracy gap of .05 on: ours
Differs:  no reference
"""

import math

import lightning as L

from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.needs import Range
from zoo.frame.figures import Picture

# (train, val), where -1 falls, 0 is flat, 1 rises -> whether the run is fine, verdict and cure
OVERFIT = "overfitting: more data or augmentation, weight decay, dropout, a smaller network, or stop earlier"
VERDICTS = {
    (-1, -1): (True, "still learning: train longer"),
    (-1, 0): (False, OVERFIT),
    (-1, 1): (False, OVERFIT),
    (0, -1): (False, "only val/loss falls: check the data, and regularisation that acts in training only"),
    (0, 0): (True, "converged: lower the learning rate or the batch size to improve further"),
    (0, 1): (False, "val/loss rises while train/loss is flat: stop earlier, or look for wrong labels"),
    (1, -1): (False, "train/loss rises and val/loss falls: check the data"),
    (1, 0): (False, "train/loss rises: lower the learning rate"),
    (1, 1): (False, "both losses rise: lower the learning rate, and check the network and the data"),
}
UNDERFIT = "if that is too low, underfitting: a larger network, longer training, less regularisation"
EPOCHS, GAP = 4, 0.05


def trend(curve: list[float], tau: float = 0.1) -> int:
    """Return -1 if the second half of a curve falls, 1 if it rises, 0 if it is flat, as in the equation above.

    Args:
        curve: one number per epoch, at least two.
        tau: least change that counts, as a fraction of the range of the whole curve.
    """
    tail = curve[len(curve) // 2 :]
    span, n = max(curve) - min(curve), len(tail)
    if span == 0:
        return 0
    centre, mean = (n - 1) / 2, sum(tail) / n
    slope = sum((i - centre) * (v - mean) for i, v in enumerate(tail)) / sum((i - centre) ** 2 for i in range(n))
    moved = slope * (n - 1) / span
    return 0 if abs(moved) <= tau else (1 if moved > 0 else -1)


class FitVerdict(Diagnostic):
    """Judge a fit at its end from `train/loss` and `val/loss`, which every model of the zoo logs.

    Mixed or smoothed targets raise train/loss. So the trends of the two losses are compared, not their values. After a
    resume, the curves start again.

    Args:
        tau: least change of a curve over its second half that counts, as a fraction of its range, in (0, 1].

    Raises:
        ValueError: if tau is out of its range.
    """

    needs = (Range("tau", 0, 1, open_low=True),)
    examples = ({"tau": 0.5},)

    def __init__(self, tau: float = 0.1):
        self.tau = tau
        self._curves: dict[str, list[float]] = {"train/loss": [], "val/loss": []}

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self._curves = {name: [] for name in self._curves}

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._read(trainer)  # the previous epoch: a model logs train/loss after the callbacks' on_train_epoch_end

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._read(trainer)
        train, val = self._curves.values()
        if len(train) < EPOCHS or len(val) < EPOCHS:
            return self.say(True, f"fewer than {EPOCHS} epochs with validation: no verdict")
        if not all(map(math.isfinite, (*train, *val))):
            return self.say(False, "a loss was NaN or Inf: no verdict; NaNGuard stops there and names the cause")
        at = trend(train, self.tau), trend(val, self.tau)
        well, text = VERDICTS[at]
        if at == (0, 0):
            well, gap = self._gap(trainer)
            text += gap
        best = val.index(min(val))
        self.say(well, f"{text}. The lowest val/loss was {val[best]:.3f}, in epoch {best}; the last was {val[-1]:.3f}")

    @staticmethod
    def _gap(trainer: L.Trainer) -> tuple[bool, str]:
        """Judge a converged run by its accuracies; with mixed targets, which have no such accuracy, say nothing."""
        train, val = (trainer.callback_metrics.get(name) for name in ("train/acc", "val/acc"))
        if train is None or val is None:
            return True, ""
        accuracies = f"; the accuracy is {train:.3f} in training and {val:.3f} in validation: "
        return (False, accuracies + OVERFIT) if train - val > GAP else (True, accuracies + UNDERFIT)

    def _read(self, trainer: L.Trainer) -> None:
        for name, curve in self._curves.items():
            if name in trainer.callback_metrics:
                curve.append(trainer.callback_metrics[name].item())

    def draw(self) -> Picture:
        """Draw the two curves of a small run, and the verdict."""
        from callbacks.frame.pictures.findings import draw_epochs

        return draw_epochs(self, lambda copy: copy._curves)
