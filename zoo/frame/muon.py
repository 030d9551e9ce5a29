"""Muon for filters, SGD with Nesterov momentum for the rest: the optimizer of the 94 % record on CIFAR-10.

Paper:    Muon: An optimizer for hidden layers in neural networks (Jordan et al.; 2024)
          https://kellerjordan.github.io/posts/muon/; for filters in airbench94_muon
Code:     https://github.com/KellerJordan/cifar10-airbench (the authors', at f1c599c; the tests hold numbers of it)
Equation: filters, a matrix W (o, i h w) each:
            B <- m B + g,  d = g + m B,  W <- W sqrt(o) / ||W||_F,  W <- W - lr NS(d)
          NS(d): X = d / (||d||_F + 1e-7), then 3 times  A = X X',  X <- a X + (b A + c A A) X
          the rest:  d = g + (w / lr_0) p,  B <- m' B + d,  p <- p - lr (d + m' B);  lr_0 the rate at the start
Shapes:   filters (o, i, h, w) by Muon; matrices (o, i) and vectors (o,) by SGD, each kind at its own rate
Defaults: lr = .24, filter_momentum = .6 (m), matrix_lr = .67, vector_lr = .053, sgd_momentum = .85 (m'), (a, b, c) =
          (3.4445, -4.775, 2.0315), bfloat16 in NS: the authors', for a loss that is summed over the batch. For the mean
          loss, SGD's two rates are N times as large; Muon's is the same, because NS divides by the norm
Differs:  filters of one shape are orthogonalised together. Why not torch's or timm's Muon: `torch.optim.Muon` (2.14)
          takes matrices alone; both average the gradient, B <- m B + (1 - m) g, keep W's norm as it is, and start with
          another number of iterations. With those settings the same, one step differs by 3e-7 where NS is float32, and
          by 5e-3 in bfloat16, which rounds .4 g to other numbers than g
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from zoo.frame.group_step import GroupOptimizer

A, B, C = 3.4445, -4.7750, 2.0315
STEPS, EPS = 3, 1e-7
PRECISION = torch.bfloat16  # of NS


def orthogonal(d: Tensor) -> Tensor:
    """Bring the singular values of matrices to 0.7 .. 1.2, roughly: NS of the equation.

    Args:
        d: (n, o, i), n matrices.

    Returns:
        (n, o, i) in `PRECISION`.
    """
    tall = d.shape[1] > d.shape[2]
    x: Tensor = d.to(PRECISION)
    x = x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + EPS)
    x = x.mT if tall else x
    for _ in range(STEPS):
        a = x @ x.mT
        x = A * x + (B * a + (C * a) @ a) @ x
    return x.mT if tall else x


class FilterMuon(GroupOptimizer):
    """`Classifier(..., optimizer="filtermuon", lr=0.24, weight_decay=0.0)`.

    Args:
        params: parameters, or groups of them.
        lr: learning rate of filters, > 0.
        weight_decay: w, share of a matrix or vector that is taken off in the first step, >= 0; filters have none.
        filter_momentum: m, in [0, 1).
        matrix_lr, vector_lr: learning rates of matrices and vectors, > 0.
        sgd_momentum: m', in [0, 1).

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.24,
        weight_decay: float = 0.0,
        filter_momentum: float = 0.6,
        matrix_lr: float = 0.67,
        vector_lr: float = 0.053,
        sgd_momentum: float = 0.85,
    ):
        if min(lr, matrix_lr, vector_lr) <= 0 or weight_decay < 0:
            raise ValueError(
                f"learning rates must be > 0 and weight_decay >= 0, got {lr}, {matrix_lr}, {vector_lr}, {weight_decay}"
            )
        if not (0 <= filter_momentum < 1 and 0 <= sgd_momentum < 1):
            raise ValueError(f"both momenta must be in [0, 1), got {filter_momentum} and {sgd_momentum}")
        given = [p for part in params for p in (part["params"] if isinstance(part, dict) else [part])]
        sgd = {"muon": False, "momentum": sgd_momentum}
        kinds: list[dict[str, Any]] = [
            {"params": [p for p in given if p.ndim > 2], "lr": lr, "weight_decay": 0.0, "muon": True},
            {"params": [p for p in given if p.ndim == 2], "lr": matrix_lr, "weight_decay": weight_decay / matrix_lr},
            {"params": [p for p in given if p.ndim < 2], "lr": vector_lr, "weight_decay": weight_decay / vector_lr},
        ]
        groups = [kind if "muon" in kind else {**kind, **sgd} for kind in kinds if kind["params"]]
        super().__init__(groups, {"lr": lr, "momentum": filter_momentum, "weight_decay": 0.0})

    def step_group(self, group: dict[str, Any], params: list[Tensor]) -> None:
        g = [p.grad for p in params if p.grad is not None]
        if group["weight_decay"]:
            g = [*torch._foreach_add(g, params, alpha=group["weight_decay"])]
        buffers = [self._buffer(p) for p in params]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, g)
        d = [*torch._foreach_add(g, buffers, alpha=group["momentum"])]
        if group["muon"]:
            torch._foreach_mul_(params, [len(p) ** 0.5 / p.norm() for p in params])
            d = orthogonal_all(d)
        torch._foreach_add_(params, d, alpha=-group["lr"])

    def _buffer(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonal_all(d: list[Tensor]) -> list[Tensor]:
    """Return `orthogonal` of each filter (o, i, h, w), in its own type; filters of one shape are one batch."""
    by_shape = defaultdict(list)
    for i, one in enumerate(d):
        by_shape[one.shape].append(i)
    found = list(d)
    for shape, places in by_shape.items():
        for i, x in zip(places, orthogonal(torch.stack([d[i].flatten(1) for i in places])), strict=True):
            found[i] = x.view(shape).to(d[i].dtype)
    return found
