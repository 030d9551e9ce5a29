"""Swish with a slope: x sigmoid(beta x). beta = 1 is SiLU; 0 gives x / 2, infinity ReLU; 1.702 nearly GELU."""

import torch
from torch import Tensor, nn


class Swish(nn.Module):
    """Apply x sigmoid(beta x) to each number; any shape.

    Args:
        beta: any number; if learned, where it starts.
        learned: make beta a parameter, one for the module.
    """

    def __init__(self, beta: float = 1.0, learned: bool = False):
        super().__init__()
        self.beta: float | nn.Parameter = nn.Parameter(torch.tensor([beta])) if learned else beta

    def forward(self, x: Tensor) -> Tensor:
        beta = self.beta.to(x.dtype) if isinstance(self.beta, Tensor) else self.beta
        return x * torch.sigmoid(beta * x)

    def extra_repr(self) -> str:
        return "learned beta" if isinstance(self.beta, Tensor) else f"beta={self.beta}"
