"""Score a model: average the scores of its training, validation and test batches, and log them."""

from typing import Any

import lightning as L
from torch import Tensor

from zoo.frame.log import log_shared
from zoo.frame.run import count_loaders, log_every_n_steps
from zoo.frame.scores import RunningMean, Scores


class Scorer(L.LightningModule):
    """A module that scores its batches: `_count` in training, `_score` in evaluation.

    Training logs `train/loss`, `train/acc` (hard targets) and `train/acc_mixed` (mixed targets) once an epoch, and
    `train/loss_step` every `log_every_n_steps`; evaluation logs `val/` and `test/` `loss`, `acc` and, if K > 5, `top5`.
    With several loaders, the first has these names, and the names of the next end in `/dataloader_idx_1`.
    `barebones=True` logs nothing.
    """

    masks = False  # whether targets are masks with a class for each pixel: see `Segmenter`
    multi_label = False  # whether an image has several labels, so that targets are 0 and 1, (N, K); set by data modules
    num_classes: int
    train_mean: type[RunningMean] = RunningMean  # of training batches

    def __init__(self) -> None:
        super().__init__()
        self._window, self._epoch = (
            self.train_mean(),
            self.train_mean(),
        )  # since `loss_step` was logged; before, in this epoch
        self._logged_at = 0  # in steps
        self._scores: Any = None  # of the evaluation that runs

    def _count(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Count a batch of training."""
        self._window.update(loss, logits, targets, self.multi_label)

    def _score(self, logits: Tensor, targets: Tensor, loader: int = 0) -> None:
        """Count a batch of validation or test."""
        assert self._scores is not None  # since the epoch began
        self._scores.update(logits, targets, loader)

    # ---- training

    def on_train_start(self) -> None:
        self._logged_at = self.trainer.global_step

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        step, every = self.trainer.global_step, log_every_n_steps(self.trainer)
        if every and step > self._logged_at and step % every == 0:  # once, if gradients accumulate
            self._logged_at = step
            loss = self._window.compute(self._sum_over_ranks)["loss"]
            self.log("train/loss_step", loss.cpu(), prog_bar=True)  # Lightning's bar reads it in every later step
            self._close_window()

    def on_train_epoch_end(self) -> None:
        self._close_window()
        if self._epoch and not self.trainer.barebones:
            means = self._epoch.compute(self._sum_over_ranks)
            log_shared(self, {f"train/{name}": value for name, value in means.items()}, prog_bar=True)
        self._epoch = self.train_mean()

    def _close_window(self) -> None:
        self._epoch.merge(self._window)
        self._window = self.train_mean()

    def _sum_over_ranks(self, values: Tensor) -> Tensor:
        total = self.trainer.strategy.reduce(values, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    # ---- evaluation

    def new_scores(self) -> Any:
        """Return empty scores for the evaluation that begins: `update(outputs, targets, loader)`, `compute()`."""
        loaders = count_loaders(self.trainer)
        return Scores(self.num_classes, self.device, self.masks, loaders, self.multi_label)

    def on_validation_epoch_start(self) -> None:
        self._scores = self.new_scores()

    def on_test_epoch_start(self) -> None:
        self._scores = self.new_scores()

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val", prog_bar=True)

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def _log_scores(self, part: str, prog_bar: bool = False) -> None:
        assert self._scores is not None
        if not self.trainer.barebones:
            scores = {f"{part}/{name}": value for name, value in self._scores.compute().items()}
            log_shared(self, scores, prog_bar=prog_bar, add_dataloader_idx=False)
