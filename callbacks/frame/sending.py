"""Numbers drawn on the CPU, for a device that is not kept waiting."""

import torch
from torch import Tensor


def send(numbers: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device. On CUDA through pinned memory, from which a copy does not wait."""
    if device.type == "cuda":
        numbers = numbers.pin_memory()
    return numbers.to(device, non_blocking=True)
