"""Frame of all learning-rate schedules: rate = initial rate x factor(optimizer step), with warm-up."""

import math
from abc import abstractmethod
from typing import ClassVar

import lightning as L
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from callbacks.frame import schedule
from callbacks.frame.needs import Choice, Need
from callbacks.frame.pair_needs import Claims
from callbacks.frame.schedule import Time, parse_time
from callbacks.frame.trick import Trick
from callbacks.frame.warm_up import KINDS, warm_up
from zoo.frame.run import callbacks_of, is_fast_dev_run


def cosine(t: float, T: float) -> float:
    """Return (1 + cos(pi t / T)) / 2: 1 at t = 0, 0 at t = T."""
    return (1 + math.cos(math.pi * t / T)) / 2


class Decay(Trick):
    """Abstract. Writes `lr = initial_lr * factor` into every parameter group before each batch.

    The factor depends on the step alone, so a resume needs no state. Groups that other tricks split or scale keep their
    own `initial_lr`.

    Args:
        warmup_epochs: length of the warm-up: epochs, >= 0, or "0.1dur", "500st".
        warmup_kind: its form, see `callbacks/optimization/warm_up.py`.
    """

    picture = "rates"
    needs: ClassVar[tuple[Need, ...]] = (
        Claims("set the learning rate"),
        Choice("warmup_kind", tuple(KINDS), "a warm-up"),
    )

    def __init__(self, warmup_epochs: Time = 0, warmup_kind: str = "linear"):
        if not isinstance(warmup_epochs, str) and warmup_epochs < 0:
            raise ValueError(f"warmup_epochs must be >= 0, got {warmup_epochs}")
        parse_time(warmup_epochs)
        self.warmup_epochs = warmup_epochs
        self.warmup_kind = warmup_kind

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if trainer.lr_scheduler_configs:
            raise ValueError(
                f"{type(self).__name__} and the model's own scheduler both set the learning rate: keep one"
            )
        if any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks_of(trainer)):
            raise ValueError(
                f"{type(self).__name__} and Lightning's StochasticWeightAveraging both set the learning rate: take "
                "callbacks.SWA in its place, or one of the two out"
            )
        self.total = self.length(trainer)
        self.warmup = schedule.in_steps(self.warmup_epochs, trainer)
        if is_fast_dev_run(trainer) and 0 < self.total <= self.warmup:
            self.warmup = int(self.total) - 1
            rank_zero_info(f"{type(self).__name__}: fast_dev_run is short, so warm-up takes {self.warmup} of its steps")
        if 0 < self.total <= self.warmup:
            raise ValueError(
                f"{self.warmup_epochs} epochs of warm-up are {self.warmup} optimizer steps of {self.total} and leave "
                "nothing: train longer or warm up for less"
            )
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])

    def length(self, trainer: L.Trainer) -> float:
        """Return the number of optimizer steps of the run. Raises ValueError if it has no end."""
        return schedule.total_steps(trainer)

    def steps(self, name: str, time: Time, trainer: L.Trainer) -> int:
        """Return the time given as argument `name` in steps. Raises ValueError if it is shorter than a step."""
        steps = schedule.in_steps(time, trainer)
        if steps < 1:
            raise ValueError(f"{type(self).__name__}: {name} {time!r} is less than one optimizer step: make it longer")
        return steps

    def on_train_batch_start(
        self, trainer: L.Trainer, model: L.LightningModule, batch: list[Tensor], batch_idx: int
    ) -> None:
        step, m = trainer.global_step, self.warmup
        factor = warm_up(step, m, self.warmup_kind) if step < m else self.factor(step)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor  # a group may be added late

    @abstractmethod
    def factor(self, step: int) -> float:
        """Return the factor after the warm-up, at optimizer step `step` of `self.total`."""
