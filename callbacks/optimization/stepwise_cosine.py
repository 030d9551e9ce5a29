"""Stepwise cosine: the cosine's learning rates, each held for some epochs, so that it falls in stairs.

Paper:    none; step and cosine decay are from Bag of Tricks (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187,
          2.1 and 5.1
Code:     timm's `CosineLRScheduler` with a step an epoch is the case of every = 1
Equation: eta_t = (1 + cos(pi k floor(t / k) / T)) eta / 2,   t = 0 .. T - 1 without the warm-up, k = steps of a stair
Shapes:   none
Defaults: stairs of 5 epochs, no warm-up (both ours)
Differs:  ours: an idea of a reader of the paper, that step and cosine decay join as "lower the rate every few epochs"
"""

import lightning as L

from callbacks.frame.decay import Decay, cosine
from callbacks.frame.schedule import Time, parse_time


class StepwiseCosine(Decay):
    """Sets the learning rate of any LightningModule without a scheduler of its own.

    Args:
        every: how long each rate is held: epochs, or a time such as "0.1dur", "10ep", "500st".
        warmup_epochs: length of the warm-up, in epochs, >= 0.
        warmup_kind: its form, "linear", "multiplier" or "constant": see `WarmUp`.

    Raises:
        ValueError: if a stair is shorter than a step, the warm-up leaves nothing, or something else sets the rate too.
    """

    def __init__(self, every: Time = 5, warmup_epochs: float = 0, warmup_kind: str = "linear"):
        super().__init__(warmup_epochs, warmup_kind)
        parse_time(every)
        self.every = every

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self.k = self.steps("every", self.every, trainer)

    def factor(self, step: int) -> float:
        t = step - self.warmup
        return cosine(t - t % self.k, self.total - self.warmup)
