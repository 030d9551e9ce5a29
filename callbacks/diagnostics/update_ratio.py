"""Update ratio: compare the size of an optimizer step with the size of the weights.

Paper:    none. "Ratio of weights:updates" in the course CS231n, https://cs231n.github.io/neural-networks-3/. On
          monitoring such numbers: Practical Recommendations for Gradient-Based Training of Deep Architectures
          (Bengio; 2012) https://arxiv.org/abs/1206.5533
Code:     none
Equation: r_i = ||w_i' - w_i||_2 / ||w_i||_2 for a parameter w_i before and w_i' after a step; should be about 1e-3
Shapes:   one number per parameter with two or more dimensions. Biases and scales often start at 0 and have no ratio
Defaults: low = 1e-5, high = 1e-1, ours: a factor of 100 to either side of the course's 1e-3; every = 100 steps, ours:
          the first steps are small during a warm-up, or where blocks start at 0
Differs:  no reference
"""

import statistics

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.loss_scale import is_scaled
from callbacks.frame.needs import Range
from zoo.frame.sharded import whole


class UpdateRatio(Diagnostic):
    """Report a learning rate that is too high or too low: the median ratio of a step leaves [low, high].

    Keeps a copy of the weights during the measured steps only.

    Args:
        every: optimizer steps between two measurements, >= 1.
        low: least median ratio, 0 <= low < high.
        high: largest median ratio.

    Raises:
        ValueError: if an argument is out of its range.
    """

    needs = (Range("every", 1), Range("low", 0, "high"))
    reads_weights = True
    examples = ({"every": 2, "high": 1.0},)
    _before: list[Tensor] | None = None

    def __init__(self, every: int = 100, low: float = 1e-5, high: float = 1e-1):
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
        sizes = whole(torch.stack(torch._foreach_norm(self._before))).float()
        steps = [p - before for p, before in zip(self._weights, self._before, strict=True)]
        moved = whole(torch.stack(torch._foreach_norm(steps))).float()
        ratios = (moved / sizes.clamp_min(1e-12)).tolist()
        self._before, self._weights = None, []
        if is_scaled(trainer) and not any(ratios):  # gradients overflowed, and the scaler skipped the step
            return
        self.measured = "update / weight", {f"tensor {i}": ratio for i, ratio in enumerate(ratios, 1)}
        self._judge(statistics.median(ratios), trainer.global_step)

    def _judge(self, ratio: float, step: int) -> None:
        text = f"step {step} moved the weights by {ratio:.1e} of their norm (median)"
        if ratio > self.high:
            self.say(False, f"{text}, more than {self.high:g}: lower the learning rate or warm up")
        elif ratio < self.low:
            self.say(False, f"{text}, less than {self.low:g}: raise the learning rate")
        else:
            self.say(True, text)
