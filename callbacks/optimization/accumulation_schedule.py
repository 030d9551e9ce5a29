"""Accumulation schedule: let the batch grow during training, by accumulating the gradients of more and more batches.

Paper:    Don't Decay the Learning Rate, Increase the Batch Size (Smith et al.; ICLR 2018)
          https://arxiv.org/abs/1711.00489, section 5.1
Code:     lightning.pytorch.callbacks.GradientAccumulationScheduler
Equation: in epoch e, an optimizer step every k_e batches, of the mean of their gradients
Shapes:   none; the statistics of batch norm are still of one batch
Defaults: 5, 25 and 125 times as many from the epochs 60, 120 and 160, where a step decay would divide the rate by 5
          (from memory of the paper)
Differs:  Lightning's leaves its last k on the Trainer, resumes in mid-epoch with k = 1, and has the steps of a run
          counted as if k never changed (`estimated_stepping_batches`), so that no schedule ends when the run does. Here
          the Trainer gets its own k back, a resume its epoch's, and learning rate schedules the right count
"""

import lightning as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from callbacks.frame.trick import Trick, refuse_second


class AccumulationSchedule(Trick):
    """Sets how many batches make an optimizer step, epoch by epoch. Works on any LightningModule.

    Args:
        epochs: those, counted from 0, from which on another number holds.
        factors: for each of them, the number as a multiple of the Trainer's `accumulate_grad_batches`, >= 1.

    Raises:
        ValueError: for epochs and factors that do not match; or beside another schedule of accumulation.
        TypeError: for a LightningModule that optimizes manually.
    """

    claims = "schedule the accumulation"

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
        """The multiple in this epoch; 1 before the first."""
        begun = [(start, k) for start, k in zip(self.epochs, self.factors, strict=True) if start <= epoch]
        return max(begun)[1] if begun else 1

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Batches a step in this epoch. Named as Lightning's, so that whoever counts steps finds either."""
        return self._own * self.factor(epoch)

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        refuse_second(self, trainer.callbacks)
        if any(isinstance(callback, GradientAccumulationScheduler) for callback in trainer.callbacks):
            raise ValueError(f"AccumulationSchedule and Lightning's both {self.claims}: take one of them out")
        if not model.automatic_optimization:
            raise TypeError("AccumulationSchedule: a module that optimizes manually must accumulate by itself")
        if stage == "fit":
            self._own = trainer.accumulate_grad_batches

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Of a resume in mid-epoch, which has no start of its epoch."""
        self._set(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._set(trainer)

    def _set(self, trainer: L.Trainer) -> None:
        trainer.accumulate_grad_batches = self.get_accumulate_grad_batches(trainer.current_epoch)

    def teardown(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            trainer.accumulate_grad_batches = self._own

    def on_exception(self, trainer: L.Trainer, model: L.LightningModule, exception: BaseException) -> None:
        if trainer.state.fn == "fit":
            trainer.accumulate_grad_batches = self._own
