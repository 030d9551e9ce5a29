"""Stepwise cosine: take the cosine's learning rates, and hold each for some epochs, so that the rate falls in stairs.

Paper:    none; step and cosine decay are from Bag of Tricks (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187,
          2.1 and 5.1
Code:     timm's `CosineLRScheduler` with one step an epoch is the case every = 1
Equation: eta_t = (1 + cos(pi k floor(t / k) / T)) eta / 2,   t = 0 .. T - 1 without the warm-up, k = steps of a stair
Shapes:   none
Defaults: every = 5 epochs, warmup_epochs = 0: ours
Differs:  ours, an idea for a reader of that paper: join step and cosine decay, "lower the rate every few epochs"
"""

import lightning as L

from callbacks.frame.decay import Decay, cosine
from callbacks.frame.schedule import Time, parse_time


class StepwiseCosine(Decay):
    """Set the learning rate of any LightningModule without a scheduler of its own.

    Args:
        every: how long each rate is held: epochs, or a time such as "0.1dur", "10ep", "500st".
        warmup_epochs: length of the warm-up: epochs, >= 0, or "0.1dur", "500st".
        warmup_kind: "linear", "multiplier" or "constant", see `WarmUp`.

    Raises:
        ValueError: if a stair is shorter than a step, the warm-up leaves nothing, or something else sets the rate too.
    """

    examples = ({"every": "1st", "warmup_epochs": 0.5, "warmup_kind": "constant"},)

    def __init__(self, every: Time = 5, warmup_epochs: Time = 0, warmup_kind: str = "linear"):
        super().__init__(warmup_epochs, warmup_kind)
        parse_time(every)
        self.every = every

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self.k = self.steps("every", self.every, trainer)

    def factor(self, step: int) -> float:
        t = step - self.warmup
        return cosine(t - t % self.k, self.total - self.warmup)
