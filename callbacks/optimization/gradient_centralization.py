"""Gradient centralization: subtract the mean from the gradient of every output unit.

Paper:    Gradient Centralization: A New Optimization Technique for Deep Neural Networks (Yong, Huang, Hua, Zhang; ECCV
          2020) https://arxiv.org/abs/2004.01461, eq. 1
Code:     https://github.com/Yonghongwei/Gradient-Centralization (the authors')
Equation: G_i <- G_i - mean(G_i)
Shapes:   i is an output unit: a row of W, (out, ...) -> (out,) means; vectors (biases, gains) are left alone
Defaults: conv_only = False, linear layers too, as the authors' code
Differs:  nothing in the equation. The authors centralise inside each optimizer, after L2 decay is added; here only the
          gradient of the loss is centralised, before the optimizer sees it.
"""

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from callbacks.frame.rows import over_rows
from callbacks.frame.trick import Trick
from zoo.frame.sharded import own


@torch.no_grad()
def centralize(gradients: list[Tensor]) -> None:
    """Subtract the mean of each row from each gradient (out, ...), in place."""
    rows = [own(g) for g in gradients]
    torch._foreach_sub_(rows, over_rows(lambda g: g.mean(1), rows))


class GradientCentralization(Trick):
    """Centralise the gradients of each optimizer step of any LightningModule.

    Args:
        conv_only: leave linear layers (two dimensions) alone: the authors' `gc_conv_only`.
    """

    picture = "gradients"
    examples = ({"conv_only": True},)

    def __init__(self, conv_only: bool = False):
        self.conv_only = conv_only

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Optimizer) -> None:
        """Centralise the gradients of the step: by now, accumulated ones are summed. A loss scale does no harm."""
        least = 3 if self.conv_only else 2
        held = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients := [g for g in held if g.ndim >= least]:
            centralize(gradients)
