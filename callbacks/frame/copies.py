"""Copies of the weights for later use."""

import lightning as L
from torch import Tensor

from zoo.frame.sharded import agree, whole


def copy_of(trainer: L.Trainer, model: L.LightningModule) -> dict[str, Tensor]:
    """Copy the state dict, whole, to the CPU. With several ranks, batch norms' statistics are those of rank 0."""
    copies = {}
    for name, value in model.state_dict().items():  # one at a time: weights in parts may not fit as a whole
        copy = whole(value).clone()
        if trainer.world_size > 1:
            agree([copy])
        copies[name] = copy.cpu()
    return copies
