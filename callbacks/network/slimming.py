"""Network slimming: penalise the gammas of the norms by their L1 norm, to see which channels can be removed.

Paper:    Learning Efficient Convolutional Networks through Network Slimming (Liu, Li, Shen, Huang, Yan, Zhang; ICCV
          2017) https://arxiv.org/abs/1708.06519, section 3, eq. 1
Code:     https://github.com/Eric-mingjie/network-slimming, main.py `updateBN` (the authors' PyTorch version)
Equation: L' = L + lambda sum |gamma|, by its subgradient: dL'/dgamma = dL/dgamma + lambda sign(gamma), sign(0) = 0
Shapes:   gamma (C,) of every norm
Defaults: weight = 1e-4 (lambda), the authors' for VGG on CIFAR; theirs for ResNet-164 and DenseNet-40 is 1e-5
Differs:  Channels are removed afterwards, by `zoo.prune_channels(model, 0.5, by="gamma")`. Gammas start as the network
          has them. The logged losses are without the penalty.
"""

from collections.abc import Sequence

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from callbacks.frame.loss_scale import needs_unscaled
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Linear, Rate, rate_now, rate_values
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture


@torch.no_grad()
def add_penalty(gammas: Sequence[Tensor], gradients: Sequence[Tensor], weight: float) -> None:
    """Add the subgradient weight * sign(gamma) to the gradients, in place."""
    torch._foreach_add_([*gradients], torch._foreach_sign([*gammas]), alpha=weight)


def gammas_of(network: nn.Module) -> list[Tensor]:
    """Return gamma of every norm that has one."""
    return [m.weight for m in network.modules() if isinstance(m, _NormBase | nn.GroupNorm) and m.weight is not None]


class Slimming(Trick):
    """Add the penalty's gradient at each optimizer step, before the gradient is clipped.

    Args:
        weight: lambda, > 0, or a `Schedule` from 0 on.

    Raises:
        TypeError: for a network without norms that have gammas, or a fused optimizer in 16 bits.
        ValueError: for a weight out of its range.
    """

    needs = (Range("weight", 0, off_at_low=True),)
    examples = ({"weight": Linear(0, 1e-3)},)
    taxonomy = "penalty"

    def __init__(self, weight: Rate = 1e-4):
        self.weight = weight

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit" and not gammas_of(model):
            raise TypeError(f"{type(model).__name__} has no norms with gammas: take Slimming out")

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        needs_unscaled(self, trainer)
        self._gammas = gammas_of(model)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, model: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        used = [(gamma, gamma.grad) for gamma in self._gammas if gamma.grad is not None]  # the others are frozen
        if used:
            gammas, gradients = zip(*used, strict=True)
            add_penalty(gammas, gradients, rate_now(self.weight, trainer))

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.__dict__.pop("_gammas", None)

    def draw(self) -> Picture:
        """Draw the penalty on a gamma, and the gradient that the trick adds."""
        from callbacks.frame.pictures.curves import panels

        factor = max(rate_values(self.weight))
        gammas = torch.linspace(-1, 1, 80)
        add_penalty([gammas], [slopes := torch.zeros(80)], factor)
        axes = {"penalty": gammas.abs() * factor, "its gradient": slopes}
        lines = {name: {"": (gammas.tolist(), values.tolist())} for name, values in axes.items()}
        return panels(lines, "gamma of a norm", f"The penalty of {self!r} on one gamma, and its gradient.")
