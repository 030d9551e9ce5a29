"""Network slimming: an L1 penalty on the gammas of the norms, which says what channels can leave.

Paper:    Learning Efficient Convolutional Networks through Network Slimming (Liu, Li, Shen, Huang, Yan, Zhang; ICCV
          2017) https://arxiv.org/abs/1708.06519, section 3, eq. 1
Code:     https://github.com/Eric-mingjie/network-slimming, main.py `updateBN` (the authors' PyTorch version)
Equation: L' = L + lambda sum |gamma|, by its subgradient: dL'/dgamma = dL/dgamma + lambda sign(gamma), sign(0) = 0
Shapes:   gamma (C,) of every norm
Defaults: lambda 1e-4, the paper's for VGG on CIFAR; 1e-5 for ResNet-164 and DenseNet-40 (from memory of the paper)
Differs:  Channels leave afterwards, by `zoo.prune_channels(model, 0.5, by="gamma")`. The paper starts gammas at .5
          (from memory), here they start as the network has them. The losses that are logged are without the penalty.
"""

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from callbacks.frame.schedule import Rate, rate_now, rate_values
from callbacks.frame.trick import Trick, needs_range


@torch.no_grad()
def add_penalty(gammas: list[Tensor], gradients: list[Tensor], weight: float) -> None:
    """Adds weight * sign(gamma) to the gradients, in place."""
    torch._foreach_add_(gradients, torch._foreach_sign(gammas), alpha=weight)


def gammas_of(network: nn.Module) -> list[nn.Parameter]:
    """Of every norm that has one."""
    return [m.weight for m in network.modules() if isinstance(m, _NormBase | nn.GroupNorm) and m.weight is not None]


class Slimming(Trick):
    """Works at each optimizer step, before the gradient is clipped.

    Args:
        weight: lambda, > 0, or a `Schedule` from 0 on.

    Raises:
        TypeError: for a network without norms that have gammas.
        ValueError: for a weight out of its range.
    """

    taxonomy = "penalty"

    def __init__(self, weight: Rate = 1e-4):
        for value in rate_values(weight):
            needs_range(self, "weight", value, 0, float("inf"), open_low=isinstance(weight, int | float))
        self.weight = weight

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit" and not gammas_of(model):
            raise TypeError(f"{type(model).__name__} has no norms with gammas: take Slimming out")

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._gammas = gammas_of(model)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, model: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        used = [gamma for gamma in self._gammas if gamma.grad is not None]  # others are frozen now
        if used:
            add_penalty(used, [gamma.grad for gamma in used], rate_now(self.weight, trainer))

    def teardown(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self.__dict__.pop("_gammas", None)
