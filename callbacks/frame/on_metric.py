"""Frame of tricks that judge a number: a metric after each validation, or the loss of each training epoch."""

from abc import abstractmethod
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, distributed

from callbacks.frame.needs import Choice, Need
from callbacks.frame.schedule import load_data
from callbacks.frame.trick import Trick
from zoo.frame.checks import validate_choice


class OnMetric(Trick):
    """Abstract. Calls `judge` with each new value, which is the same on all ranks.

    Args:
        metric: name of a logged metric, read after each validation; None: mean loss of each training epoch.
        mode: "min" if less is better, "max" if more is.

    Raises:
        ValueError: for another mode, a metric in a run without validation, or a metric that is not logged.
    """

    picture = "plateau"
    needs: ClassVar[tuple[Need, ...]] = (Choice("mode", ("min", "max"), "mode"),)

    _sum: Tensor | float = 0.0  # of the training losses of this epoch, in float64
    _batches: int = 0
    _device = torch.device("cpu")  # on which ranks exchange numbers: NCCL takes no CPU tensors

    def __init__(self, metric: str | None, mode: str):
        self.metric, self.mode = metric, mode

    @abstractmethod
    def judge(self, trainer: L.Trainer, model: L.LightningModule, value: float) -> None:
        """Act on a new value."""

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        self._device = trainer.strategy.root_device
        if stage == "fit":
            self._sum, self._batches = 0.0, 0

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        if self.metric is not None and not validates(trainer):
            raise ValueError(
                f"{type(self).__name__} reads {self.metric!r} after each validation, and this run has none: give it "
                "data to validate on, or set metric=None for the loss of each training epoch"
            )

    # ---- a metric

    def on_validation_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Judge the metric; not if Ctrl-C caused a validation within the epoch, because a resume validates again."""
        if self.metric is None or trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if trainer.is_last_batch or not trainer.should_stop:
            if self.metric.startswith("train/") and self.metric not in trainer.callback_metrics:
                raise ValueError(
                    f"{type(self).__name__}: {self.metric!r} is known after the validation only; "
                    "set metric=None for the loss of each training epoch"
                )
            name = validate_choice(self.metric, trainer.callback_metrics, f"{type(self).__name__}: the log of this run")
            self._pass_on(trainer, model, trainer.callback_metrics[name])

    # ---- the training loss

    def on_train_batch_end(
        self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, batch: list[Tensor], batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, model, outputs, batch, batch_idx)
        if self.metric is None and outputs:
            loss = outputs["loss"].detach() * trainer.accumulate_grad_batches  # Lightning has divided it
            self._sum = self._sum + (loss if loss.device.type == "mps" else loss.double())
            self._batches += 1

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if trainer.is_last_batch:  # an epoch that was cut short is not judged: a resume continues it
            self._close(trainer, model)

    def on_train_batch_start(
        self, trainer: L.Trainer, model: L.LightningModule, batch: list[Tensor], batch_idx: int
    ) -> None:
        if batch_idx == 0:  # after a resume from an epoch's last batch, Lightning skips that epoch's end
            self._close(trainer, model)
        super().on_train_batch_start(trainer, model, batch, batch_idx)

    def _close(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self._batches:
            mean = self._sum / self._batches
            self._sum, self._batches = 0.0, 0
            self._pass_on(trainer, model, mean)

    def _pass_on(self, trainer: L.Trainer, model: L.LightningModule, value: Tensor | float) -> None:
        self.judge(trainer, model, self._over_ranks(value).item())

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self._over_ranks(self._sum), "batches": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sum, self._batches = state["sum"], state["batches"]

    def _over_ranks(self, value: Tensor | float) -> Tensor:
        """Return the mean of the ranks' values."""
        value = torch.as_tensor(value)
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            value = value.to(self._device, copy=True)
            distributed.all_reduce(value)
            value = value / distributed.get_world_size()
        return value


def validates(trainer: L.Trainer) -> bool:
    """Return whether a fit validates: it needs a validation step and validation data."""
    if not trainer.enable_validation:
        return False
    load_data(trainer)
    trainer.fit_loop.epoch_loop.val_loop.setup_data()  # else Lightning does it after `on_fit_start`
    return sum(trainer.num_val_batches) > 0
