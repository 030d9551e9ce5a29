"""AdaBound: Adam whose step sizes are clipped between bounds that converge to a learning rate of SGD.

Paper:    Adaptive Gradient Methods with Dynamic Bound of Learning Rate (Luo, Xiong, Liu, Sun; ICLR 2019)
          https://openreview.net/forum?id=Bkg3g2R9FX, algorithm 2
Code:     https://github.com/Luolc/AdaBound (the authors'; read at its last commit). Neither torch nor timm has it
Equation: m_t = b1 m + (1 - b1) g,  v_t = b2 v + (1 - b2) g^2,  t = 1, 2, ...
          eta_t = clip(lr sqrt(1 - b2^t) / (1 - b1^t) / (sqrt(v_t) + eps), low_t, high_t),  theta <- theta - eta_t m_t
          low_t = final (1 - 1 / (gamma t + 1)),  high_t = final (1 + 1 / (gamma t))
Shapes:   every parameter for itself
Defaults: lr 1e-3, final_lr .1, gamma 1e-3, b1 .9, b2 .999, eps 1e-8, weight decay 0 (the authors' code)
Differs:  as the authors' code, not the paper's algorithm: moments are corrected for their start as in Adam, steps are
          not divided by sqrt(t), and `final_lr` goes up and down with a schedule, by lr over the lr given.
"""

import math
from collections import defaultdict
from typing import Any

import torch
from timm.optim._optim_factory import OptimInfo, default_registry
from torch.optim.optimizer import ParamsT

from zoo.frame.group_step import GroupOptimizer
from zoo.frame.lbfgs import LBFGS
from zoo.frame.muon import FilterMuon


def bounds(step: int, final_lr: float, gamma: float) -> tuple[float, float]:
    """Return the smallest and largest step size at step t = 1, 2, ...: from (0, almost infinity) to final_lr."""
    return final_lr * (1 - 1 / (gamma * step + 1)), final_lr * (1 + 1 / (gamma * step))


class AdaBound(GroupOptimizer):
    """`Classifier(..., optimizer="adabound", lr=1e-3, optimizer_options={"final_lr": 0.1})`.

    Args:
        params: as in any optimizer of torch.
        lr: Adam's learning rate, > 0.
        betas: b1 and b2, in [0, 1).
        final_lr: learning rate of SGD that step sizes converge to, > 0.
        gamma: speed of convergence, in (0, 1).
        eps: added to the denominator, >= 0.
        weight_decay: L2 penalty, added to the gradient, >= 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        final_lr: float = 0.1,
        gamma: float = 1e-3,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        if lr <= 0 or final_lr <= 0 or not 0 < gamma < 1:
            raise ValueError(f"lr and final_lr must be > 0, gamma in (0, 1), got {lr}, {final_lr} and {gamma}")
        if eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"eps and weight_decay must be >= 0, betas in [0, 1), got {eps}, {weight_decay} and {betas}"
            )
        options = {"lr": lr, "betas": betas, "final_lr": final_lr, "gamma": gamma, "eps": eps}
        super().__init__(params, {**options, "weight_decay": weight_decay})

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Store the rate that `final_lr` belongs to in the group, for checkpoints and splits of the group."""
        super().add_param_group(group)
        self.param_groups[-1].setdefault("base_lr", self.param_groups[-1]["lr"])

    def step_group(self, group: dict[str, Any], params: list[torch.Tensor]) -> None:
        by_step = defaultdict(list)  # a parameter that was frozen at first has made fewer steps
        for p in params:
            by_step[self._count(p)].append(p)
        for t, same in by_step.items():
            self._move(group, t, same)

    def _count(self, p: torch.Tensor) -> int:
        state = self.state[p]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
        state["step"] += 1
        count: int = state["step"]
        return count

    def _move(self, group: dict[str, Any], t: int, params: list[torch.Tensor]) -> None:
        b1, b2 = group["betas"]
        gradients = [p.grad for p in params if p.grad is not None]
        if group["weight_decay"]:
            gradients = [*torch._foreach_add(gradients, params, alpha=group["weight_decay"])]
        means, squares = ([self.state[p][name] for p in params] for name in ("exp_avg", "exp_avg_sq"))
        torch._foreach_lerp_(means, gradients, 1 - b1)
        torch._foreach_mul_(squares, b2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - b2)

        low, high = bounds(t, group["final_lr"] * group["lr"] / group["base_lr"], group["gamma"])
        sizes = torch._foreach_sqrt(squares)
        torch._foreach_add_(sizes, group["eps"])
        torch._foreach_reciprocal_(sizes)
        torch._foreach_mul_(sizes, group["lr"] * math.sqrt(1 - b2**t) / (1 - b1**t))
        torch._foreach_clamp_min_(sizes, low)
        torch._foreach_clamp_max_(sizes, high)
        torch._foreach_addcmul_(params, means, sizes, value=-1)


def register() -> None:
    """Register ours with timm's factory for `Classifier(optimizer=...)`, unless timm has its own."""
    words = "Adam with step sizes between bounds that converge to a rate of SGD"
    quasi = "a quasi-Newton method for whole batches"
    filters = "Muon for filters, Nesterov SGD for matrices and vectors"
    for info in (
        OptimInfo("adabound", AdaBound, description=words, has_betas=True),
        OptimInfo("lbfgs", LBFGS, description=quasi, has_eps=False, second_order=True),
        OptimInfo("filtermuon", FilterMuon, description=filters, has_eps=False),
    ):
        if info.name not in default_registry.list_optimizers():
            default_registry.register(info)
