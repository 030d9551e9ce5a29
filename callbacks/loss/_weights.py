"""What penalties on weights are about: the matrices and kernels that are trained, not biases, norms or scales."""

import torch
from torch import Tensor, nn


def weights_of(model: nn.Module) -> list[Tensor]:
    """Trained parameters of more than one dimension, as `NoBiasDecay` tells them apart."""
    return [p for p in model.parameters() if p.requires_grad and p.ndim > 1]


def norms(weights: list[Tensor], power: float) -> Tensor:
    """The norm of each: tensors -> (their number,). In one kernel for all of them where the device has it."""
    return torch.stack(torch._foreach_norm(weights, power))
