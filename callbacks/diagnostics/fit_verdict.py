"""Fit verdict: judge at the end of a fit from the loss curves whether it overfits or underfits, and suggest a cure.

Paper:    none; the table of verdicts is ours. On reading curves: A Disciplined Approach to Neural Network
          Hyper-Parameters (Smith; 2018) https://arxiv.org/abs/1803.09820. AIC: A New Look at the Statistical Model
          Identification (Akaike; IEEE Transactions on Automatic Control 1974) https://doi.org/10.1109/TAC.1974.1100705.
          BIC: Estimating the Dimension of a Model (Schwarz; Annals of Statistics 1978)
          https://doi.org/10.1214/aos/1176344136
Code:     none
Equation: change = (least-squares slope over the second half of a curve's epochs) x (number of its epochs - 1) /
          (larger range of the two curves);   a curve falls if change < -tau, rises if change > tau, else is flat
          AIC = 2 p + 2 N CE,  BIC = p ln N + 2 N CE,  of p trained parameters and N training images
Shapes:   the curves of train/loss and val/loss, one number per epoch
Defaults: tau = .1, at least 4 epochs, overfitting from an accuracy gap of .05 on, criteria = False: ours
Differs:  no reference. AIC and BIC are derived for far more images than parameters. Of most networks the penalty
          decides alone: ResNet-20 on CIFAR-10 has 2 p = 540,000, and 2 N CE = 5,000 at a cross-entropy of .05
"""

import math

import lightning as L

from callbacks.frame.criteria import measure
from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.needs import Range
from zoo.frame.figures import Picture
from zoo.frame.run import datamodule_of

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


def trend(curve: list[float], span: float, tau: float = 0.1) -> int:
    """Return -1 if the second half of a curve falls, 1 if it rises, 0 if it is flat, as in the equation above.

    Args:
        curve: one number per epoch, at least two.
        span: the scale of changes, larger than 0; 0: flat.
        tau: least change that counts, as a fraction of the span.
    """
    tail = curve[len(curve) // 2 :]
    n = len(tail)
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
        tau: least change of a curve over its second half that counts, as a fraction of the larger range, in (0, 1].
        criteria: add AIC and BIC, from a pass over the training images without augmentation, at the end of the fit; for
            data modules with a `plain_dataloader`, as all of ours have.

    Raises:
        ValueError: if tau is out of its range.
    """

    needs = (Range("tau", 0, 1, open_low=True),)
    examples = ({"tau": 0.5}, {"criteria": True})

    def __init__(self, tau: float = 0.1, criteria: bool = False):
        self.tau, self.criteria = tau, criteria
        self._curves: dict[str, list[float]] = {"train/loss": [], "val/loss": []}

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self._curves = {name: [] for name in self._curves}

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._read(trainer)  # the previous epoch: a model logs train/loss after the callbacks' on_train_epoch_end

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._read(trainer)
        if self.criteria:
            self._measure(trainer, model)
        train, val = self._curves.values()
        if len(train) < EPOCHS or len(val) < EPOCHS:
            return self.say(True, f"fewer than {EPOCHS} epochs with validation: no verdict")
        if not all(map(math.isfinite, (*train, *val))):
            return self.say(False, "a loss was NaN or Inf: no verdict; NaNGuard stops there and names the cause")
        span = max(max(curve) - min(curve) for curve in (train, val))  # one scale: a small curve's noise is no trend
        at = trend(train, span, self.tau), trend(val, span, self.tau)
        well, text = VERDICTS[at]
        if at == (0, 0):
            well, gap = self._gap(trainer)
            text += gap
        best = val.index(min(val))
        self.say(well, f"{text}. The lowest val/loss was {val[best]:.3f}, in epoch {best}; the last was {val[-1]:.3f}")

    def _measure(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Add AIC and BIC to the findings."""
        loader = getattr(datamodule_of(trainer), "plain_dataloader", None)
        found = None if loader is None else measure(trainer, model, loader())
        self.say(True, str(found or "no AIC and BIC: they need a plain_dataloader of the data, and one class an image"))

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
