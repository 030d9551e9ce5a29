"""Gradient clipping: the gradient of a step is at most so long, or none of its numbers is larger than a value.

Paper:    On the Difficulty of Training Recurrent Neural Networks (Pascanu, Mikolov, Bengio; ICML 2013)
          https://arxiv.org/abs/1211.5063, algorithm 1: by norm. By value: none
Code:     torch.nn.utils.clip_grad_norm_ and clip_grad_value_, which are inside; Lightning's
          `Trainer(gradient_clip_val=1.0, gradient_clip_algorithm="norm")` takes the same steps
Equation: "norm":  g <- g min(1, c / |g|_2),  g the gradients of all parameters together
          "value": g_i <- min(max(g_i, -c), c)
Shapes:   any
Defaults: by norm, c = 1 (ViT on ImageNet, https://arxiv.org/abs/2010.11929, appendix B; from memory)
Differs:  c / (|g| + 1e-6), as torch has it. What the Trainer does too is here a trick among others: with a place in
          their order, a schedule, and a line in what a recipe prints. Not checked against the paper.
"""

import lightning as L
import torch

from callbacks.frame.schedule import Rate, rate_now, rate_values
from callbacks.frame.trick import Trick, needs_range
from callbacks.frame.unscaled import needs_unscaled
from zoo.frame.checks import validate_choice

KINDS = {"norm": torch.nn.utils.clip_grad_norm_, "value": torch.nn.utils.clip_grad_value_}


class GradientClipping(Trick):
    """Clips what each optimizer step of any LightningModule is about to use. By unit: `AdaptiveGradientClipping`.

    Args:
        limit: c, > 0, or a `Schedule`.
        kind: "norm" or "value", see the equation.

    Raises:
        ValueError: for a limit out of its range, or another kind.
        TypeError: with 16-bit scaling and an optimizer that unscales gradients itself (`fused`).
    """

    def __init__(self, limit: Rate = 1.0, kind: str = "norm"):
        for value in rate_values(limit):
            needs_range(self, "limit", value, 0, float("inf"), open_low=True)
        self.limit = limit
        self.kind = validate_choice(kind, KINDS, "GradientClipping")

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        needs_unscaled(self, trainer)

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer) -> None:
        """After all gradients of the step are summed, and the scale of 16-bit training is taken off."""
        held = [p for group in optimizer.param_groups for p in group["params"]]
        KINDS[self.kind](held, rate_now(self.limit, trainer))
