"""Calibration: compare a network's confidence with its accuracy, and find the classes that it confuses.

Paper:    On Calibration of Modern Neural Networks (Guo, Pleiss, Sun, Weinberger; ICML 2017)
          https://arxiv.org/abs/1706.04599, eq. 3 and 5
Code:     torchmetrics `MulticlassCalibrationError` and `MulticlassConfusionMatrix`, used here
Equation: ECE = sum_m |B_m| / n |acc(B_m) - conf(B_m)| over M bins of equal width of the confidence max_k p_k
Shapes:   probabilities (N, K), targets (N,) -> ECE (); confusion (K, K), rows the truth
Defaults: bins = 15 (M), the paper's
Differs:  nothing
"""

import lightning as L
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError, MulticlassConfusionMatrix

from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.needs import Range
from zoo.frame.checks import classes_of
from zoo.frame.figures import Picture
from zoo.frame.log import log_shared
from zoo.frame.outputs import over_views
from zoo.frame.run import datamodule_of

PAIRS = 3  # how many of the most frequent confusions are named


class Calibration(Diagnostic):
    """Log the calibration error of the test set as `test/ece`, and keep and draw its confusion matrix.

    Costs a second forward pass for every test batch. Does nothing in training.

    Args:
        bins: M, >= 1.

    Attributes:
        confusion: (K, K) counts of the last test, rows the truth, columns the prediction; None before a test.

    Raises:
        ValueError: if bins is below 1.
    """

    needs = (Range("bins", 1),)
    one_label = True
    examples = ({"bins": 5},)
    confusion: Tensor | None = None

    def __init__(self, bins: int = 15):
        self.bins = bins

    def on_test_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.findings = ()
        self._ece = MulticlassCalibrationError(classes_of(model), n_bins=self.bins).to(model.device)
        self._counts = MulticlassConfusionMatrix(classes_of(model)).to(model.device)

    @torch.no_grad()
    def on_test_batch_end(self, trainer, model, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        images, targets = batch
        with trainer.precision_plugin.forward_context():
            p = over_views(model, images).float().softmax(1)
        for metric in (self._ece, self._counts):
            metric.update(p, targets)

    def on_test_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        ece, self.confusion = self._ece.compute(), self._counts.compute().cpu()
        log_shared(model, {"test/ece": ece})
        worst = [f"{self._name(trainer, t)} as {self._name(trainer, p)} ({n})" for t, p, n in self._top_confusions()]
        self.say(True, f"expected calibration error {ece:.4f}; most frequent confusions: {', '.join(worst) or 'none'}")

    def _top_confusions(self) -> list[tuple[int, int, int]]:
        """Return truth, prediction and count of the most frequent confusions."""
        assert self.confusion is not None
        wrong = self.confusion.clone().fill_diagonal_(0)
        counts, indices = wrong.flatten().topk(min(PAIRS, wrong.numel()))
        k = len(wrong)
        return [(i // k, i % k, n) for i, n in zip(indices.tolist(), counts.tolist(), strict=True) if n]

    def _name(self, trainer: L.Trainer, k: int) -> str:
        names = getattr(datamodule_of(trainer), "classes", None)
        return str(names[k] if names else k)

    def draw(self) -> Picture:
        """Draw the confusion matrix of the last test, each row divided by its sum; before one, of a small run."""
        from callbacks.frame.pictures.confusion import confusion_of, draw_confusion

        return draw_confusion(self, confusion_of(self) if self.confusion is None else self.confusion)
