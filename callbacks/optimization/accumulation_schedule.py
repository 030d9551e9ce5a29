"""Accumulation schedule: grow the batch during training by accumulating the gradients of more and more batches.

Paper:    Don't Decay the Learning Rate, Increase the Batch Size (Smith et al.; ICLR 2018)
          https://arxiv.org/abs/1711.00489, section 5.1
Code:     lightning.pytorch.callbacks.GradientAccumulationScheduler
Equation: in epoch e, one optimizer step every k_e batches, with the mean of their gradients
Shapes:   none; the statistics of a batch norm are still those of one batch
Defaults: epochs = (60, 120, 160) and factors = (5, 25, 125): ours, where a step decay of Wide ResNets divides the rate
          by 5
Differs:  Lightning's callback leaves its last k on the Trainer, and resumes within an epoch with k = 1. With it,
          `estimated_stepping_batches` ignores changes of k, so a schedule ends too early or too late. Here the
          Trainer's k is restored, a resume uses the k of its epoch, and schedules count the steps correctly
"""

import lightning as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture
from zoo.frame.run import callbacks_of


class AccumulationSchedule(Trick):
    """Set how many batches make an optimizer step, epoch by epoch. Works on any LightningModule.

    Args:
        epochs: first epochs of each new number of batches, counted from 0.
        factors: that number, as a multiple of the Trainer's `accumulate_grad_batches`, >= 1; one for each of `epochs`.

    Raises:
        ValueError: if epochs and factors do not match, or with another schedule of accumulation.
        TypeError: for a LightningModule that optimizes manually.
    """

    needs = (Claims("schedule the accumulation"),)
    examples = ({"epochs": (0, 1), "factors": (2, 1)},)
    _own: int = 1  # the Trainer's number

    def __init__(self, epochs: tuple[int, ...] = (60, 120, 160), factors: tuple[int, ...] = (5, 25, 125)):
        whole = all(n == int(n) for n in (*epochs, *factors))
        if len(epochs) != len(factors) or not whole or min(epochs, default=-1) < 0 or min(factors) < 1:
            raise ValueError(
                "AccumulationSchedule takes as many epochs >= 0 as factors >= 1, whole numbers, such as (60, 120) and "
                f"(5, 25), not {tuple(epochs)} and {tuple(factors)}"
            )
        self.epochs = tuple(epochs)
        self.factors = tuple(factors)

    def factor(self, epoch: int) -> int:
        """Return the multiple of this epoch: 1 before the first of `epochs`."""
        begun = [(start, k) for start, k in zip(self.epochs, self.factors, strict=True) if start <= epoch]
        return max(begun)[1] if begun else 1

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Return batches per step in this epoch. Code that counts steps looks for this name of Lightning's."""
        return self._own * self.factor(epoch)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if any(isinstance(callback, GradientAccumulationScheduler) for callback in callbacks_of(trainer)):
            raise ValueError(
                "AccumulationSchedule and Lightning's both schedule the accumulation: take one of them out"
            )
        if not model.automatic_optimization:
            raise TypeError("AccumulationSchedule: a module that optimizes manually must accumulate by itself")
        self._own = trainer.accumulate_grad_batches

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Set the number after a resume within an epoch, where Lightning skips `on_train_epoch_start`."""
        self._set(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._set(trainer)

    def _set(self, trainer: L.Trainer) -> None:
        trainer.accumulate_grad_batches = self.get_accumulate_grad_batches(trainer.current_epoch)

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        trainer.accumulate_grad_batches = self._own

    def draw(self) -> Picture:
        """Draw the batches of an optimizer step over the epochs."""
        from callbacks.frame.pictures.curves import panels

        epochs = range(max(self.epochs) + 40)
        factors = [self.factor(epoch) for epoch in epochs]
        lines = {"without": (epochs, [1] * len(epochs)), f"with {type(self).__name__}": (epochs, factors)}
        caption = f"Batches of an optimizer step by epoch, {self!r}."
        return panels({"batches a step": lines}, "epoch", caption, yscale="log")
