"""DropPath: stochastic depth, for whole examples, and its linear rule.

Paper:    Deep Networks with Stochastic Depth (Huang, Sun, Liu, Sedra, Weinberger; ECCV 2016)
          https://arxiv.org/abs/1603.09382, equations 2 and 4
"""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop a residual branch in training: y = x b / (1 - p), with b ~ Bernoulli(1 - p) drawn once an example.

    The paper does not divide; it multiplies by 1 - p at test time. The expectation is the same.

    Shapes: (N, ...) -> (N, ...).

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
        b = torch.empty(x.shape[0], *[1] * (x.ndim - 1), dtype=torch.float32, device=x.device)  # draws of any precision
        return x * b.bernoulli_(1 - self.p).div_(1 - self.p).to(x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


def linear_rates(last: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Return the probability of each block, by stage: 0 at the first block, rising linearly to `last` at the last.

    Args:
        last: probability of the last block, in [0, 1).
        depths: number of blocks in each stage.
    """
    rates = (last * i / max(sum(depths) - 1, 1) for i in range(sum(depths)))
    return [[next(rates) for _ in range(depth)] for depth in depths]
