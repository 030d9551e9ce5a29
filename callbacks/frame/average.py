"""A second set of weights that follows the trained ones, evaluated beside them and kept in every checkpoint."""

from abc import abstractmethod

import lightning as L
import torch
from torch import Tensor
from torch.func import functional_call

from callbacks.frame.trick import Trick
from zoo.frame.checks import classes_of
from zoo.frame.classifier import over_views
from zoo.frame.scores import Scores


class Average(Trick):
    """Abstract: a subclass says when the average starts and how it follows.

    Evaluation logs `val/acc_<label>` and so on beside `val/acc`. The model itself always holds the raw weights.

    Attributes:
        average: every entry of the model's state dict, averaged; None before there is one.
    """

    average: dict[str, Tensor] | None = None

    @property
    @abstractmethod
    def label(self) -> str:
        """What the names of its scores end in."""

    @abstractmethod
    def follow(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """After each optimizer step."""

    # ---- the average

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.average = None

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """After a resume has restored both sets of weights."""
        if self.average is not None:
            self.begin(model, self.average)

    def begin(self, model: L.LightningModule, values: dict[str, Tensor] | None = None) -> None:
        """Starts with these values, or with the weights as they are."""
        live = model.state_dict()
        self.average = {k: (values or live)[k].to(v.device, copy=True) for k, v in live.items()}
        floats = [k for k, v in live.items() if v.is_floating_point()]
        self._averages, self._weights = [self.average[k] for k in floats], [live[k] for k in floats]
        self._counts = [(self.average[k], v) for k, v in live.items() if not v.is_floating_point()]

    def move(self, fraction: float) -> None:
        """Move the average by `fraction` toward the weights: theta' <- theta' + fraction (theta - theta')."""
        torch._foreach_lerp_(self._averages, self._weights, fraction)
        self.copy_counts()

    def copy_counts(self) -> None:
        """Copy the integer counters, which have no average."""
        for average, count in self._counts:
            average.copy_(count)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        if trainer.global_step == self._step:  # gradients are accumulating: no step was taken
            return
        self._step = trainer.global_step
        self.follow(trainer, model)

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self.average is not None:
            self._agree(trainer)

    def _agree(self, trainer: L.Trainer) -> None:
        """Parameters are equal on all ranks, batch-norm statistics are each rank's own: all take rank 0's."""
        if trainer.world_size > 1:
            for tensor in self.average.values():
                torch.distributed.broadcast(tensor, src=0)

    def copy_to(self, model: L.LightningModule) -> None:
        """Replaces the model's weights by the average. Raises RuntimeError if there is none yet."""
        if self.average is None:
            raise RuntimeError(f"{self!r} has no average yet: nothing was trained, or not for long enough")
        model.load_state_dict(self.average)

    # ---- its evaluation

    def _start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self.average is not None:
            self.average = {k: v.to(model.device) for k, v in self.average.items()}  # new if read from a file only
            self._agree(trainer)
            self._scores = Scores(classes_of(model), model.device, getattr(model, "masks", False))

    @torch.no_grad()
    def _score(self, trainer: L.Trainer, model: L.LightningModule, batch: list) -> None:
        if self.average is not None:
            images, targets = batch
            with trainer.precision_plugin.forward_context():  # autocast does not reach callbacks by itself
                logits = over_views(lambda x: functional_call(model, self.average, (x,)), images)
                self._scores.update(logits, targets)

    def _log(self, model: L.LightningModule, stage: str) -> None:
        if self.average is not None:
            scores = self._scores.compute()
            model.log_dict({f"{stage}/{name}_{self.label}": value for name, value in scores.items()})

    def on_validation_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._start(trainer, model)

    def on_test_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._start(trainer, model)

    def on_validation_batch_end(self, trainer, model, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._score(trainer, model, batch)

    def on_test_batch_end(self, trainer, model, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._score(trainer, model, batch)

    def on_validation_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._log(model, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._log(model, "test")

    # ---- its place in checkpoints

    def on_save_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict) -> None:
        """A `Classifier` has written the average already, also into weights-only files, which never come here."""
        if self.average is not None:
            checkpoint.setdefault("averages", {})[self.state_key] = self.average

    def on_load_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict) -> None:
        self.average = checkpoint.get("averages", {}).get(self.state_key)


class Mean(Average):
    """Abstract: the plain mean of the weights at the steps that `takes` picks, each counting the same."""

    taken = 0

    @abstractmethod
    def takes(self, step: int) -> bool:
        """Whether the weights after so many optimizer steps go into the mean."""

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self.taken = 0

    def follow(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if not self.takes(trainer.global_step):
            return
        self.taken += 1
        if self.taken == 1:
            self.begin(model)
        else:
            self.move(1 / self.taken)

    def state_dict(self) -> dict:
        return {"taken": self.taken}

    def load_state_dict(self, state: dict) -> None:
        self.taken = state["taken"]
