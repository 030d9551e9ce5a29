"""SWA: average the weights after each epoch of a run's last part, while a large learning rate keeps exploring.

Paper:    Averaging Weights Leads to Wider Optima and Better Generalization (Izmailov, Podoprikhin, Garipov, Vetrov,
          Wilson; UAI 2018) https://arxiv.org/abs/1803.05407, algorithm 1
Code:     https://github.com/timgaripov/swa (the authors'); torch.optim.swa_utils `SWALR`, `update_bn`
Equation: theta' <- (n theta' + theta) / (n + 1) after each epoch from the start on; the rate moves in a straight line
          to f eta_0. At the end, the statistics of each batch norm are computed on the training data under theta'
Shapes:   every entry of the state dict: parameters averaged, statistics of batch norms recomputed
Defaults: start = "0.75dur", every = 1 epoch, lr_factor = .5 (f), anneal = "0.05dur": ours. The authors' commands for
          CIFAR-100 start at epoch 161 of 300, with rates from .1 to .05 for WideResNet (f = .5), from .05 to .01 for
          VGG (f = .2)
Differs:  the authors lower the rate between .5 and .9 of the start, so that it is low at the start. Here it falls from
          the start on, over `anneal`, from the rate of another schedule at that time. Until the last step, the average
          is evaluated with averaged statistics.
"""

import math
from itertools import islice

import lightning as L
import torch
from torch.optim import Optimizer

from callbacks.frame.average import Mean
from callbacks.frame.batch_norm_statistics import renew_statistics
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.schedule import Time, in_steps, load_data, parse_time, total_steps


def straight_line(before: float, after: float, steps: int, length: int) -> float:
    """Return the rate `steps` after the start, on a straight line from `before` to `after` of `length` steps."""
    return before + (after - before) * min(1.0, steps / length if length else 1.0)


class SWA(Mean):
    """Keep a second set of weights, as `EMA` does, and log `val/acc_swa` and so on beside `val/acc`.

    Before `start` there is no average, and no score of it. After the last step, and before its validation, one pass
    over the training data without gradients computes the statistics of the batch norms. From `start` on, SWA sets
    the learning rate, and other schedules have no effect.

    Args:
        start: when averaging begins: epochs, or "0.75dur", "500st". The weights at that time are the first.
        every: time between two weights that are averaged.
        lr_factor: f, the learning rate after `anneal` divided by the initial one, > 0; None: leave the rate alone.
        anneal: time in which the rate moves to that value.

    Raises:
        ValueError: for invalid times, `every` shorter than a step, a factor out of its range, or a second SWA.
    """

    needs = (Claims("hold the learning rate at the end"), Range("lr_factor", 0, open_low=True))
    examples = ({"start": 1, "every": "2st", "lr_factor": 0.2, "anneal": 0},)
    label = "swa"
    _rates: list[float] | None = None  # of the groups, at the start
    _stale = False  # whether the average's batch-norm statistics must be recomputed

    def __init__(
        self, start: Time = "0.75dur", every: Time = 1, lr_factor: float | None = 0.5, anneal: Time = "0.05dur"
    ):
        for time in (start, every, anneal):
            parse_time(time)
        self.start = start
        self.every = every
        self.lr_factor = lr_factor
        self.anneal = anneal

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self._rates, self._stale = None, False

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_train_start(trainer, model)
        load_data(trainer)
        self._first, self._every = in_steps(self.start, trainer), in_steps(self.every, trainer)
        if self._began not in (None, self._first):
            self._rates = None
        self.begin_at(self._first, trainer)
        self._length, self._total = in_steps(self.anneal, trainer), total_steps(trainer)
        if self._every < 1:
            raise ValueError(f"SWA: every={self.every!r} is less than one optimizer step: make it longer")

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Optimizer) -> None:
        """Set the rate in the last hook before the step, after all schedules in any order of the list."""
        steps = trainer.global_step - self._first
        if self.lr_factor is None or steps < 0:
            return
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self._rates = self._rates or [group["lr"] for group in groups]
        for group, before in zip(groups, self._rates, strict=True):
            group["lr"] = straight_line(before, self.lr_factor * group["initial_lr"], steps, self._length)

    def takes(self, step: int) -> bool:
        return step >= self._first and (step - self._first) % self._every == 0

    def follow(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().follow(trainer, model)
        self._stale = self._stale or self.takes(trainer.global_step)
        if trainer.global_step >= self._total:
            self._renew(trainer, model)

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._renew(trainer, model)  # for a run that was stopped early
        super().on_train_end(trainer, model)

    def _renew(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        loader = trainer.train_dataloader
        if not self._stale or self.average is None or loader is None:
            return
        self._stale = trainer.global_step < self._total  # a resume of a stopped run does it again
        cuda = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(cuda), trainer.precision_plugin.forward_context():
            count = trainer.num_training_batches
            batches = islice(loader, None if math.isinf(count) else int(count))
            converted = map(trainer.precision_plugin.convert_input, batches)
            renew_statistics(model, self.average, (trainer.strategy.batch_to_device(batch)[0] for batch in converted))

    def state_dict(self) -> dict:
        return super().state_dict() | {"rates": self._rates, "stale": self._stale}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self._rates, self._stale = state["rates"], state["stale"]
