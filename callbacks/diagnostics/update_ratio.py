"""Update ratio: how far a step moves each weight, by how large the weight is.

Paper:    none. The rule is of the course CS231n, https://cs231n.github.io/neural-networks-3/, "ratio of
          weights:updates". On watching such numbers: Practical Recommendations for Gradient-Based
          Training of Deep Architectures (Bengio; 2012) https://arxiv.org/abs/1206.5533
Code:     none
Equation: r_i = ||w_i' - w_i||_2 / ||w_i||_2 of a parameter w_i before and w_i' after a step; about 1e-3
Shapes:   one number a parameter of two and more dimensions: those that start at 0 have no ratio
Defaults: [1e-5, 1e-1], two tens either side of the course's 1e-3; at every hundredth step: the first ones are small
          where the rate warms up, or blocks start at 0
Differs:  nothing to differ from
"""

import statistics

import lightning as L
import torch

from callbacks.frame.diagnostic import Look
from callbacks.frame.trick import needs_range


class UpdateRatio(Look):
    """Says when a step's median ratio leaves its range: the learning rate is too high or too low for these weights.

    Keeps a copy of the weights during the steps it looks at, and only then.

    Args:
        every: optimizer steps between two looks, >= 1.
        low: a median ratio that is still large enough, 0 <= low < high.
        high: one that is still small enough.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(self, every: int = 100, low: float = 1e-5, high: float = 1e-1):
        needs_range(self, "every", every, 1, float("inf"))
        needs_range(self, "low", low, 0, high)
        self.every, self.low, self.high = every, low, high

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._before = None

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer) -> None:
        if (trainer.global_step + 1) % self.every == 0 and self._before is None:
            self._weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
            self._before = [p.detach().clone() for p in self._weights]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        if self._before is None:
            return
        sizes = torch.stack(torch._foreach_norm(self._before)).float()
        moved = torch.stack(torch._foreach_norm(torch._foreach_sub(self._weights, self._before))).float()
        self._before = self._weights = None
        self._judge(statistics.median((moved / sizes.clamp_min(1e-12)).tolist()), trainer.global_step)

    def _judge(self, ratio: float, step: int) -> None:
        seen = f"step {step} moved the weights by {ratio:.1e} of their size (median)"
        if ratio > self.high:
            self.say(False, f"{seen}, more than {self.high:g}: lower the learning rate or warm up")
        elif ratio < self.low:
            self.say(False, f"{seen}, less than {self.low:g}: raise the learning rate")
        else:
            self.say(True, seen)
