"""Numbers that all processes of a run share."""

from collections.abc import Sequence

import lightning as L
import torch
from torch import Tensor


def average_over_processes(trainer: L.Trainer, tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one dtype by their means over all processes, in one message."""
    if trainer.world_size == 1 or not tensors:
        return
    values = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(values)
    for tensor, mean in zip(tensors, (values / trainer.world_size).split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))
