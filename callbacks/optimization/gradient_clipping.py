"""Gradient clipping: bound the norm of a step's gradient, or each of its entries.

Paper:    On the Difficulty of Training Recurrent Neural Networks (Pascanu, Mikolov, Bengio; ICML 2013)
          https://arxiv.org/abs/1211.5063, algorithm 1: by norm. By value: none
Code:     torch.nn.utils.clip_grad_norm_ and clip_grad_value_, which are called here; Lightning's
          `Trainer(gradient_clip_val=1.0, gradient_clip_algorithm="norm")` takes the same steps
Equation: "norm":  g <- g min(1, c / |g|_2),  g the gradients of all parameters together
          "value": g_i <- min(max(g_i, -c), c)
Shapes:   any
Defaults: kind = "norm", limit = 1 (c), ViT's in fine-tuning, https://arxiv.org/abs/2010.11929, table 4
Differs:  c / (|g| + 1e-6), as in torch. Unlike the Trainer's argument, the trick has a place in the order of tricks, a
          schedule, and a line in what a recipe prints.
"""

from collections.abc import Callable, Iterable

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from callbacks.frame.loss_scale import needs_unscaled
from callbacks.frame.needs import Choice, Range
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.trick import Trick

KINDS: dict[str, Callable[[Iterable[Tensor], float], object]] = {
    "norm": torch.nn.utils.clip_grad_norm_,
    "value": torch.nn.utils.clip_grad_value_,
}


class GradientClipping(Trick):
    """Clip the gradients of each optimizer step of any LightningModule. Unit by unit: `AdaptiveGradientClipping`.

    Args:
        limit: c, > 0, or a `Schedule`.
        kind: "norm" or "value", see the equation.

    Raises:
        ValueError: for a limit out of its range, or another kind.
        TypeError: with 16-bit scaling and an optimizer that unscales gradients itself (`fused`).
    """

    picture = "gradients"
    needs = (Range("limit", 0, open_low=True), Choice("kind", tuple(KINDS)))
    examples = ({"limit": Linear(2.0, 0.1), "kind": "value"},)

    def __init__(self, limit: Rate = 1.0, kind: str = "norm"):
        self.limit = limit
        self.kind = kind

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        needs_unscaled(self, trainer)

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Optimizer) -> None:
        """Clip the gradients of the step: by now, accumulated ones are summed and the loss scale is removed."""
        held = [p for group in optimizer.param_groups for p in group["params"]]
        KINDS[self.kind](held, rate_now(self.limit, trainer))
