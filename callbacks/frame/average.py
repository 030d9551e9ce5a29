"""Keep a second set of weights that follows the trained ones: evaluated beside them, saved in every checkpoint."""

from abc import abstractmethod
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from callbacks.frame.trick import Trick
from zoo.frame.checks import classes_of
from zoo.frame.log import log_shared
from zoo.frame.outputs import over_views
from zoo.frame.run import count_loaders
from zoo.frame.scorer import Scorer
from zoo.frame.scores import Scores, with_suffix
from zoo.frame.sharded import agree, forward_with, load_whole, own, part_like


class Average(Trick):
    """Abstract. A subclass defines when the average starts and how it follows the weights.

    Evaluation logs `val/acc_<label>` and so on beside `val/acc`. The model itself always holds the raw weights.

    Attributes:
        average: the averaged state dict of the model; None until the average starts.
    """

    picture = "path"
    reads_weights = True

    average: dict[str, Tensor] | None = None
    _begun: dict[str, Tensor] | None = None  # the average that follows the weights

    @property
    @abstractmethod
    def label(self) -> str:
        """Return the ending of its scores' names."""

    @abstractmethod
    def follow(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Update the average. Called after each optimizer step."""

    # ---- the average

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.average = None

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Continue the average that a resume has restored, if there is one."""
        if self.average is not None:
            self.begin(model, self.average)

    def begin(self, model: L.LightningModule, values: dict[str, Tensor] | None = None) -> None:
        """Start the average from `values`, or from the current weights.

        Averages of 16-bit weights are float32: in 16 bits, an update of a thousandth would round to zero. Weights that
        two layers share have one average.
        """
        live = model.state_dict()
        self._own = first_keys(live)  # one key for each tensor that layers share
        copies = {k: as_average((values or live)[k], live[k]) for k in self._own.values()}
        self.average = {k: copies[self._own[k]] for k in live}
        floats = [k for k in copies if live[k].is_floating_point()]
        self._averages, self._weights = [own(self.average[k]) for k in floats], [own(live[k]) for k in floats]
        self._types = {k: v.dtype for k, v in live.items()}
        self._short = any(w.dtype != a.dtype for w, a in zip(self._weights, self._averages, strict=True))
        self._counts = [(self.average[k], live[k]) for k in copies if k not in floats]
        self._begun = self.average

    def move(self, fraction: float) -> None:
        """Move the average by `fraction` toward the weights: theta' <- theta' + fraction (theta - theta')."""
        torch._foreach_lerp_(self._averages, self.weights(), fraction)
        self.copy_counts()

    def weights(self) -> list[Tensor]:
        """Return the model's floating-point weights in the types of their averages."""
        if not self._short:
            return self._weights
        return [w.to(a.dtype) for w, a in zip(self._weights, self._averages, strict=True)]

    def as_weights(self) -> dict[str, Tensor]:
        """Return the average in the types of the weights, for a pass through the network."""
        average = self.values()
        return {k: v.to(self._types[k]) for k, v in average.items()} if self._short else average

    def copy_counts(self) -> None:
        """Copy the integer counters, which have no average."""
        for average, count in self._counts:
            average.copy_(count)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._step = trainer.global_step
        if self.average is not None and self.average is not self._begun:  # a sharding strategy restores it only now
            self.begin(model, self.average)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        if trainer.global_step == self._step:  # gradients are accumulating: no step was taken
            return
        self._step = trainer.global_step
        self.follow(trainer, model)

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self.average is not None:
            self._agree(trainer, self.average)

    def _agree(self, trainer: L.Trainer, average: dict[str, Tensor]) -> None:
        """Copy rank 0's average to all ranks, because each rank has its own batch-norm statistics."""
        if trainer.world_size > 1:
            agree(average.values())

    def copy_to(self, model: L.LightningModule) -> None:
        """Replace the model's weights by the average. Raises RuntimeError if there is none yet."""
        load_whole(model, self.values())

    def values(self) -> dict[str, Tensor]:
        """Return the average. Raises RuntimeError if there is none yet."""
        if self.average is None:
            raise RuntimeError(
                f"{self!r} has no average yet: the run was too short, or ddp_spawn or ddp_fork trained in other "
                "processes, which keep the average: read it from their checkpoint, "
                f"zoo.load(file, average={self.state_key!r}), or train with strategy='ddp'"
            )
        return self.average

    # ---- evaluation

    def _start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self.average is not None:
            live = model.state_dict()
            self.average = {k: part_like(v, live[k]) for k, v in self.average.items()}  # loaded ones are on the CPU
            self._agree(trainer, self.average)
            names = set(first_keys(live).values())
            self._evaluated = {k: self.average[k].to(v.dtype) for k, v in live.items() if k in names}
            self._scores = scores_for(trainer, model)

    @torch.no_grad()
    def _score(self, trainer: L.Trainer, model: L.LightningModule, batch: list[Tensor], loader: int) -> None:
        if self.average is not None:
            images, targets = batch
            with trainer.precision_plugin.forward_context():  # autocast does not reach callbacks by itself
                outputs = getattr(model, "outputs_for_scores", over_views)
                found = outputs(lambda x: forward_with(model, self._evaluated, x), images)
                self._scores.update(found, targets, loader)

    def _log(self, model: L.LightningModule, stage: str) -> None:
        if self.average is not None:
            scores = self._scores.compute()
            labelled = {with_suffix(f"{stage}/{name}", self.label): value for name, value in scores.items()}
            log_shared(model, labelled, add_dataloader_idx=False)

    def on_validation_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._start(trainer, model)

    def on_test_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._start(trainer, model)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        model: L.LightningModule,
        outputs: Any,
        batch: list[Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._score(trainer, model, batch, dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        model: L.LightningModule,
        outputs: Any,
        batch: list[Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._score(trainer, model, batch, dataloader_idx)

    def on_validation_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._log(model, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._log(model, "test")

    # ---- checkpoints

    def on_save_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the average. A `Classifier` has added it already, because weights-only files skip this hook."""
        if self.average is not None:
            checkpoint.setdefault("averages", {})[self.state_key] = self.average

    def on_load_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.average = checkpoint.get("averages", {}).get(self.state_key)


def first_keys(state: dict[str, Tensor]) -> dict[str, str]:
    """Map each key of a state dict to the first key with the same memory. Weights that layers share have two keys."""
    first: dict[tuple[Any, ...], str] = {}
    memory = {k: (own(v).data_ptr() or k, v.storage_offset(), v.shape, v.dtype) for k, v in state.items()}
    return {k: first.setdefault(place, k) for k, place in memory.items()}


def as_average(value: Tensor, live: Tensor) -> Tensor:
    """Copy a value to the device of the live weight; in float32 if that weight has 16 bits."""
    short = live.is_floating_point() and live.dtype.itemsize < 4
    return part_like(value.to(torch.float32 if short else live.dtype, copy=True), live)


class Mean(Average):
    """Abstract: the plain mean of the weights at the steps that `takes` picks, all with the same weight."""

    taken = 0
    _began: int | None = None  # first step of the present mean

    def begin_at(self, first: int, trainer: L.Trainer) -> None:
        """Average from step `first` on. Discard a mean that started at another step, before a longer resume.

        Args:
            first: an optimizer step, counted from the start of the run.
            trainer: of the run.
        """
        if self.average is not None and self._began not in (None, first):
            rank_zero_info(f"{self!r}: the mean started at step {self._began}, in this run it starts at {first}: reset")
            self.average, self.taken = None, 0
        self._began = first

    @abstractmethod
    def takes(self, step: int) -> bool:
        """Return whether the weights after `step` optimizer steps go into the mean."""

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
            self.move(1 / self.taken)  # theta' <- theta' + (theta - theta') / n: the mean of n weights

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "began": self._began}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken, self._began = state["taken"], state["began"]


def scores_for(trainer: L.Trainer, model: L.LightningModule) -> Any:
    """Return the empty scores of a model of the zoo; of another module, those of a classifier."""
    if isinstance(model, Scorer):
        return model.new_scores()
    return Scores(classes_of(model), model.device, loaders=count_loaders(trainer))
