"""A copy of the weights, to keep."""

import lightning as L
import torch
from torch import Tensor


def copy_of(trainer: L.Trainer, model: L.LightningModule) -> dict[str, Tensor]:
    """Copy the state dict to the CPU; with several ranks, whose batch norms differ, that of rank 0."""
    copies = {name: value.detach().clone() for name, value in model.state_dict().items()}
    if trainer.world_size > 1:
        for tensor in copies.values():
            torch.distributed.broadcast(tensor, src=0)
    return {name: value.cpu() for name, value in copies.items()}
