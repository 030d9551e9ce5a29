"""A run that was stopped and resumed ends with the same bits as one that was not."""

import os
import zipfile
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn

MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """Integers -> one of 64 bits; a different one for any other list (splitmix64's finaliser, chained)."""
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def global_seed() -> int:
    """What `seed_everything` set, else 0: the same on every rank, as Lightning's own samplers take it."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


class ExactResume(L.Callback):
    """Makes every random draw of training a function of (seed, epoch, batch, rank). In every run by itself.

    Goes to the front of the callbacks, before any trick draws, and reseeds torch at each batch; carries
    half-accumulated gradients through a checkpoint. Together with a loader that keeps its position (`datamodules`), a
    run resumed from any checkpoint that Lightning normally writes ends with the same bits on CPU. Two exceptions:
    gradients half-way through an accumulation are kept for one process only, and a checkpoint written in the middle of
    an optimizer step (by an exception there) counts its batch twice in the batch norms.
    """

    half: dict[str, torch.Tensor] | None = None

    def __init__(self):
        self.seed = global_seed()

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        trainer.callbacks.remove(self)
        trainer.callbacks.insert(0, self)
        if trainer.ckpt_path and os.path.isfile(trainer.ckpt_path) and not zipfile.is_zipfile(trainer.ckpt_path):
            raise ValueError(f"{trainer.ckpt_path} is cut short or no checkpoint: resume from an older one")

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(mix(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank))

    def state_dict(self) -> dict[str, int]:
        return {"seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.seed = state["seed"]

    def on_save_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.training and trainer.fit_loop._should_accumulate():
            if trainer.world_size > 1:
                rank_zero_warn("saved in mid-accumulation: the other ranks' gradients are lost, a resume is not exact")
            grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
            checkpoint["half_gradients"] = grads

    def on_load_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.half = checkpoint.get("half_gradients")

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for name, p in model.named_parameters():
            if self.half and name in self.half:
                p.grad = self.half[name].to(p)
        self.half = None
