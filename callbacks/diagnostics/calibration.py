"""Calibration: is a network right as often as it says, and which classes does it take for which.

Paper:    On Calibration of Modern Neural Networks (Guo, Pleiss, Sun, Weinberger; ICML 2017)
          https://arxiv.org/abs/1706.04599, eq. 3 and 5
Code:     torchmetrics `MulticlassCalibrationError`, `MulticlassConfusionMatrix`, which are inside
Equation: ECE = sum_m |B_m| / n |acc(B_m) - conf(B_m)| over M bins of equal width of the confidence max_k p_k
Shapes:   probabilities (N, K), targets (N,) -> ECE (); confusion (K, K), rows the truth
Defaults: M = 15, the paper's
Differs:  nothing
"""

import lightning as L
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError, MulticlassConfusionMatrix

from callbacks.frame.diagnostic import Look
from callbacks.frame.trick import needs_range
from zoo.frame.checks import classes_of
from zoo.frame.classifier import over_views

PAIRS = 3  # the most frequent confusions that are named


class Calibration(Look):
    """Measures the test set once more than the model does: logs `test/ece`, keeps `confusion`, draws it.

    It runs the network again on every test batch. Nothing happens in training.

    Args:
        bins: M, >= 1.

    Attributes:
        confusion: (K, K) counts of the last test, rows the truth, columns the prediction; None before.

    Raises:
        ValueError: for bins below 1.
    """

    confusion: Tensor | None = None

    def __init__(self, bins: int = 15):
        needs_range(self, "bins", bins, 1, float("inf"))
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
        model.log("test/ece", ece)
        worst = [f"{self._name(trainer, t)} as {self._name(trainer, p)} ({n})" for t, p, n in self._worst()]
        self.say(True, f"expected calibration error {ece:.4f}; most often taken: {', '.join(worst) or 'none'}")

    def _worst(self) -> list[tuple[int, int, int]]:
        """Truth, prediction and count of the most frequent mistakes."""
        wrong = self.confusion.clone().fill_diagonal_(0)
        counts, places = wrong.flatten().topk(min(PAIRS, wrong.numel()))
        k = len(wrong)
        return [(i // k, i % k, n) for i, n in zip(places.tolist(), counts.tolist(), strict=True) if n]

    def _name(self, trainer: L.Trainer, k: int) -> str:
        names = getattr(trainer.datamodule, "classes", None)
        return str(names[k] if names else k)

    def draw(self) -> Figure:
        """The confusion matrix of the last test, each row by its sum. Raises ValueError before a test."""
        if self.confusion is None:
            raise ValueError("Calibration has seen no test yet: trainer.test(model, data) first")
        figure = Figure(figsize=(6, 5), layout="constrained")
        axes = figure.subplots()
        shares = self.confusion / self.confusion.sum(1, keepdim=True).clamp_min(1)
        figure.colorbar(axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="Blues"), label="share of the true class")
        axes.set(xlabel="predicted class", ylabel="true class")
        return figure
