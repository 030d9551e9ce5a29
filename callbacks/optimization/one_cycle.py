"""One cycle: raise the learning rate, then lower it to almost zero; meanwhile momentum falls, then rises.

Paper:    Super-Convergence (Smith, Topin; 2017) https://arxiv.org/abs/1708.07120; momentum: A Disciplined Approach to
          Neural Network Hyper-Parameters (Smith; 2018) https://arxiv.org/abs/1803.09820
Code:     torch.optim.lr_scheduler.OneCycleLR (two phases, cosine), which follows fastai
Equation: c(a, b, p) = b + (a - b) (1 + cos(pi p)) / 2,   s = pct_start T - 1
          t <= s: eta_t = c(eta / div, eta, t / s),                              momentum: c(high, low, t / s)
          t > s:  eta_t = c(eta, eta / (div final_div), (t - s) / (T - 1 - s)),  momentum: c(low, high, ...)
Shapes:   none
Defaults: pct_start = .3, div = 25, final_div = 1e4, momentum = (.85, .95): torch's
Differs:  cosines take the place of the papers' straight lines, and the papers' third phase is part of the second, as in
          torch and fastai. A first phase shorter than a step is left out, where torch divides by zero
"""

import math
from collections.abc import Sequence

import lightning as L

from callbacks.frame.decay import Decay
from callbacks.frame.needs import Range


def one_cycle(t: float, T: float, pct_start: float, start: float, middle: float, end: float) -> float:
    """Return the value at step t of a cycle from `start` to `middle` to `end`, which is reached at t = T - 1.

    Args:
        t: optimizer step, from 0.
        T: steps of the run.
        pct_start: fraction of the run in which the value goes from `start` to `middle`.
        start: value at t = 0.
        middle: value at the end of the first phase.
        end: last value.
    """
    s = pct_start * T - 1
    if t <= s:
        return _cosine(start, middle, t / s if s > 0 else 1)
    return _cosine(middle, end, (t - s) / (T - 1 - s))


def _cosine(a: float, b: float, p: float) -> float:
    """Return c(a, b, p) of the equation: a at p = 0, b at p = 1."""
    return b + (a - b) / 2 * (math.cos(math.pi * p) + 1)


class OneCycle(Decay):
    """Set the learning rate, and momentum or Adam's beta 1, of any LightningModule without a scheduler of its own.

    The model's `lr` is the highest rate. A good one is a little below the rate at which `Tuner(trainer).lr_find`
    diverges.

    Args:
        pct_start: fraction of the run in which the rate rises, in [0, 1].
        div: the highest rate divided by the first one, >= 1.
        final_div: the first rate divided by the last one, >= 1.
        momentum: lowest and highest momentum, or beta 1 of an optimizer with `betas`; None: leave it as it is.

    Raises:
        ValueError: for an argument out of its range, an optimizer without momentum, or if something else sets the rate.
    """

    needs = (Range("pct_start", 0, 1), Range("div", 1), Range("final_div", 1), Range("momentum", 0, 1))
    examples = ({"pct_start": 0.4, "div": 10, "final_div": 100, "momentum": None},)

    def __init__(
        self,
        pct_start: float = 0.3,
        div: float = 25,
        final_div: float = 1e4,
        momentum: tuple[float, float] | None = (0.85, 0.95),
    ):
        super().__init__()
        if momentum is not None and (not isinstance(momentum, Sequence) or len(momentum) != 2):
            raise ValueError(f"OneCycle: momentum must be two numbers, lowest and highest, or None, got {momentum}")
        self.pct_start, self.div, self.final_div = pct_start, div, final_div
        self.momentum = None if momentum is None else tuple(momentum)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        for optimizer in trainer.optimizers:
            if self.momentum and not {"momentum", "betas"} & optimizer.param_groups[0].keys():
                raise ValueError(
                    f"OneCycle: {type(optimizer).__name__} has no momentum: choose another or set momentum=None"
                )

    def factor(self, step: int) -> float:
        return one_cycle(step, self.total, self.pct_start, 1 / self.div, 1, 1 / (self.div * self.final_div))

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, model, batch, batch_idx)
        if self.momentum is None:
            return
        low, high = self.momentum
        now = one_cycle(trainer.global_step, self.total, self.pct_start, high, low, high)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (now, *group["betas"][1:])
                else:
                    group["momentum"] = now
