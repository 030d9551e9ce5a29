"""Copies of the weights for later use."""

import lightning as L
import torch
from torch import Tensor


def copy_of(trainer: L.Trainer, model: L.LightningModule) -> dict[str, Tensor]:
    """Copy the state dict to the CPU. With several ranks, copy that of rank 0, because their batch norms differ."""
    copies = {name: value.clone() for name, value in model.state_dict().items()}
    if trainer.world_size > 1:
        for tensor in copies.values():
            torch.distributed.broadcast(tensor, src=0)
    return {name: value.cpu() for name, value in copies.items()}
