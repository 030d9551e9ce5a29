"""Layers that three papers or more have word for word."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: in training, zeroes a residual branch for whole examples and scales what stays by 1 / (1 - p).

    Shapes: (N, ...) -> (N, ...). Paper: https://arxiv.org/abs/1603.09382, which scales by 1 - p at test time instead.

    Args:
        p: probability that an example loses the branch, in [0, 1).

    Raises:
        ValueError: if p is out of range.
    """

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"the probability to drop a path must be in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.empty(x.shape[0], *[1] * (x.ndim - 1), device=x.device)  # float32: the same draws at any precision
        return x * keep.bernoulli_(1 - self.p).div_(1 - self.p).to(x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


class LocalResponseNorm(nn.LocalResponseNorm):
    """torch's, in float32 at any precision: a sum of squares, and on a CPU torch has it in no other.

    Shapes: (N, C, H, W) -> (N, C, H, W).
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each pixel. Shapes: (N, C, H, W) -> (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def linear_rates(last: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Stochastic depth's linear rule: 0 at the first block, `last` at the last one; a list of rates for each stage."""
    rates = (last * i / max(sum(depths) - 1, 1) for i in range(sum(depths)))
    return [[next(rates) for _ in range(depth)] for depth in depths]
