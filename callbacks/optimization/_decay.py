"""Learning rate = initial rate x a factor of the optimizer step, with linear warm-up: the frame of all schedules."""

from abc import abstractmethod

import lightning as L

from callbacks._schedule import in_steps, total_steps
from callbacks._trick import Trick, refuse_second


class Decay(Trick):
    """Abstract. Writes `lr = initial_lr * factor` into every parameter group before each batch.

    The factor is a function of the step alone, so a resume needs no state; groups that other tricks split or scale keep
    their own `initial_lr`.
    """

    claims = "set the learning rate"

    warmup_epochs: float

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        refuse_second(self, trainer.callbacks)
        if self.warmup_epochs < 0:
            raise ValueError(f"warmup_epochs must be >= 0, got {self.warmup_epochs}")

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if trainer.lr_scheduler_configs:
            raise ValueError(
                f"{type(self).__name__} and the model's own scheduler both set the learning rate: keep one"
            )
        self.total = total_steps(trainer)
        self.warmup = in_steps(self.warmup_epochs, trainer)
        if 0 < self.total <= self.warmup:
            raise ValueError(
                f"{self.warmup_epochs} epochs of warm-up are {self.warmup} optimizer steps of {self.total} and leave "
                "nothing: train longer or warm up for less"
            )
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        step = trainer.global_step
        factor = (step + 1) / self.warmup if step < self.warmup else self.factor(step)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    @abstractmethod
    def factor(self, step: int) -> float:
        """The factor after the warm-up, at optimizer step `step` of `self.total`."""
