"""A run that was stopped and resumed ends with the same bits as one that was not."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from zoo.frame.run import callbacks_of
from zoo.frame.seeds import global_seed, mix, reseed
from zoo.frame.weight_files import ClearCheckpointIO


class ExactResume(L.Callback):
    """Makes every random draw of training a function of (seed, epoch, batch, rank). In every run by itself.

    Goes to the front of the callbacks, before any trick draws, and reseeds torch at each batch; carries
    half-accumulated gradients through a checkpoint; mends three places where Lightning loses its own. Together with a
    loader that keeps its position (`datamodules`), a run resumed from any checkpoint that `ModelCheckpoint` writes, or
    that a Ctrl-C or `max_steps` leaves behind, ends with the same bits on CPU, in one process or two. Exceptions:

    - half-accumulated gradients are kept for one process only;
    - a checkpoint written in the middle of an optimizer step (by an exception there) counts its batch twice in the
      batch norms;
    - resumed from the last batch of an epoch (`every_n_train_steps`), Lightning goes on with the next epoch, without
      that epoch's validation; resumed in mid-epoch, the training means logged are of the rest of that epoch.
    """

    half: dict[str, torch.Tensor] | None = None
    epoch: dict[str, float] | None = None  # of the checkpoint: its processes, and batches of each

    def __init__(self) -> None:
        self.seed = global_seed()

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        callbacks = callbacks_of(trainer)
        callbacks.remove(self)
        callbacks.insert(0, self)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = ClearCheckpointIO()

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
                rank_zero_warn("saved in mid-accumulation: the other ranks' gradients are lost, a resume is not exact")
            grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
            checkpoint["half_gradients"] = grads

    def on_load_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.half, self.epoch = checkpoint.get("half_gradients"), checkpoint.get("epoch_of")

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        # Lightning has forgotten the loader's position if something asked for the run's length before it was read:
        # `trainer.estimated_stepping_batches`, in on_fit_start (LinearScaling) or configure_optimizers (OneCycleLR)
        trainer.fit_loop._load_combined_loader_states()
        _refuse_other_processes(self.epoch, _epoch_of(trainer))
        self.epoch = None
        _begin_next_epoch(trainer.fit_loop)
        for name, p in model.named_parameters():
            if self.half and name in self.half:
                p.grad = self.half[name].to(p)
        self.half = None


def _epoch_of(trainer: L.Trainer) -> dict[str, float]:
    return {"processes": trainer.world_size, "batches": trainer.num_training_batches}


def _refuse_other_processes(then: dict[str, float] | None, now: dict[str, float]) -> None:
    """Refuse epochs that another number of processes makes longer or shorter: what counts steps would be wrong."""
    if then is None or then["processes"] == now["processes"] or then["batches"] == now["batches"]:
        return
    raise ValueError(
        f"the checkpoint is of a run in {then['processes']} processes with epochs of {then['batches']} batches, and "
        f"this one is in {now['processes']} with {now['batches']}: schedules would be at the wrong step. Take as many "
        "processes, or the batch_size that makes epochs as long as they were"
    )


def _begin_next_epoch(loop: Any) -> None:
    """Mends a resume from the last batch of an epoch, where Lightning starts the next one as if in its middle.

    It then calls no `on_train_epoch_start` and counts no new epoch, so that a second resume, from a file of that
    epoch, begins the epoch again.
    """
    batches = loop.epoch_loop
    if loop.restarted_mid_epoch and batches.restarted_on_train_batch_end and batches.batch_progress.is_last_batch:
        loop.reset_restart_stage()


def _reopen_epoch(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    """Mends a file written after training stopped in mid-epoch (Ctrl-C, `max_steps`, `max_time`).

    Lightning counts such an epoch as done, and a resume would leave out the rest of it.
    """
    batches, progress = trainer.fit_loop.epoch_loop.batch_progress.current, checkpoint["loops"]["fit_loop"]
    epochs = progress["epoch_progress"]
    counted = epochs["current"]["processed"] == epochs["current"]["started"]
    if counted and 0 < batches.ready < trainer.num_training_batches:
        for count in (epochs["current"], epochs["total"]):
            count["processed"] = count["completed"] = count["started"] - 1
