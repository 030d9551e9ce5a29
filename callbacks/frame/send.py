"""Send numbers drawn on the CPU to a device, without waiting for it."""

import torch
from torch import Tensor


def send(numbers: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device. On CUDA, copy from pinned memory, which does not wait."""
    if device.type == "cuda":
        numbers = numbers.pin_memory()
    return numbers.to(device, non_blocking=True)
