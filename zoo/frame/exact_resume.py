"""Make a resumed run end with the same bits as an uninterrupted one."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from zoo.frame.elastic import warn_of_restarts
from zoo.frame.run import callbacks_of
from zoo.frame.seeds import global_seed, mix, reseed
from zoo.frame.sharded import part_like
from zoo.frame.sharded_files import protect
from zoo.frame.weight_files import ClearCheckpointIO


class ExactResume(L.Callback):
    """Make every random draw of training a function of (seed, epoch, batch, rank). Added to every run.

    It is the first callback and reseeds torch at each batch, before any trick draws. It saves half-accumulated
    gradients in checkpoints, and corrects three places where Lightning loses its position. The loader must keep its
    position too, as those of `datamodules` do. Then a run resumed from a checkpoint of `ModelCheckpoint`, of Ctrl-C or
    of `max_steps` ends with the same bits on CPU, in one process or two. Exceptions:

    - half-accumulated gradients are kept for one process only;
    - after an exception inside an optimizer step, the checkpoint counts that batch twice in the batch norms;
    - resumed from the last batch of an epoch (`every_n_train_steps`), Lightning skips that epoch's validation;
    - resumed in mid-epoch, the logged training means cover the rest of that epoch only.
    """

    half: dict[str, torch.Tensor] | None = None
    epoch: dict[str, float] | None = None  # the checkpoint's number of processes, and batches per process

    def __init__(self) -> None:
        self.seed = global_seed()

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        callbacks = callbacks_of(trainer)
        callbacks.remove(self)
        callbacks.insert(0, self)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = ClearCheckpointIO()
        protect(trainer.strategy)
        warn_of_restarts()

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        reseed(mix(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank), model.device)

    def state_dict(self) -> dict[str, int]:
        return {"seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.seed = state["seed"]

    def on_save_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        _reopen_epoch(trainer, checkpoint)
        checkpoint["epoch_of"] = _epoch_of(trainer)
        if trainer.fit_loop._should_accumulate():
            if trainer.world_size > 1:
                rank_zero_warn(
                    "saved during gradient accumulation without the other ranks' gradients: a resume is not exact"
                )
            grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
            checkpoint["half_gradients"] = grads

    def on_load_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.half, self.epoch = checkpoint.get("half_gradients"), checkpoint.get("epoch_of")

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        # Lightning forgets the loader's position if the run's length is asked for before the position is read:
        # `trainer.estimated_stepping_batches`, in on_fit_start (LinearScaling) or configure_optimizers (OneCycleLR)
        trainer.fit_loop._load_combined_loader_states()
        _refuse_other_processes(self.epoch, _epoch_of(trainer))
        self.epoch = None
        _begin_next_epoch(trainer.fit_loop)
        for name, p in model.named_parameters():
            if self.half and name in self.half:
                p.grad = part_like(self.half[name].to(p.dtype), p)
        self.half = None


def _epoch_of(trainer: L.Trainer) -> dict[str, float]:
    return {"processes": trainer.world_size, "batches": trainer.num_training_batches}


def _refuse_other_processes(then: dict[str, float] | None, now: dict[str, float]) -> None:
    """Refuse a number of processes that changes the length of an epoch: whatever counts steps would be wrong."""
    if then is None or then["processes"] == now["processes"] or then["batches"] == now["batches"]:
        return
    raise ValueError(
        f"the checkpoint's run had {then['processes']} processes and {then['batches']} batches an epoch, this one has "
        f"{now['processes']} and {now['batches']}, which would shift the schedules: use as many processes, or a "
        "batch_size that gives as many batches an epoch"
    )


def _begin_next_epoch(loop: Any) -> None:
    """Correct a resume from the last batch of an epoch, where Lightning starts the next epoch as if in its middle.

    Lightning then does not call `on_train_epoch_start` and does not count the epoch. A second resume, from a file of
    that epoch, would repeat the epoch.
    """
    batches = loop.epoch_loop
    if loop.restarted_mid_epoch and batches.restarted_on_train_batch_end and batches.batch_progress.is_last_batch:
        loop.reset_restart_stage()


def _reopen_epoch(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    """Correct a file written after training stopped in mid-epoch (Ctrl-C, `max_steps`, `max_time`).

    Lightning counts such an epoch as done, and a resume would skip the rest of it.
    """
    batches, progress = trainer.fit_loop.epoch_loop.batch_progress.current, checkpoint["loops"]["fit_loop"]
    epochs = progress["epoch_progress"]
    counted = epochs["current"]["processed"] == epochs["current"]["started"]
    if counted and 0 < batches.ready < trainer.num_training_batches:
        for count in (epochs["current"], epochs["total"]):
            count["processed"] = count["completed"] = count["started"] - 1
