"""Step then cosine: divide the learning rate at given times, and end the run along a cosine.

Paper:    none; both halves are from Bag of Tricks (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 2.1 and 5.1
Code:     none
Equation: t < s:  eta_t = eta gamma^n(t),                                n(t) = number of milestones <= t
          t >= s: eta_t = eta gamma^n(s) (1 + cos(pi (t - s) / (T - s))) / 2
Shapes:   none
Defaults: milestones = ("0.25dur",), gamma = .1, cosine_from = "0.5dur" (s), warmup_epochs = 0: ours, one drop at epoch
          30 and the cosine from epoch 60 of 120
Differs:  ours, an idea for a reader of that paper: "60 epochs of step decay, then 60 of cosine". The cosine starts from
          the rate that the steps have reached, so nothing jumps at s (unless s itself is a milestone)
"""

import lightning as L

from callbacks.frame.decay import Decay, cosine
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Time, in_steps, parse_time


class StepThenCosine(Decay):
    """Set the learning rate of any LightningModule without a scheduler of its own.

    Args:
        milestones: when the rate drops: epochs, or times such as "0.25dur", "10ep", "32000st". Milestones after the
            cosine has begun are ignored.
        gamma: what the rate is multiplied by at each milestone, > 0.
        cosine_from: s, when the cosine begins.
        warmup_epochs: length of the warm-up: epochs, >= 0, or "0.1dur", "500st".
        warmup_kind: "linear", "multiplier" or "constant", see `WarmUp`.

    Raises:
        ValueError: if a time is invalid, the cosine would begin after the run, the warm-up leaves nothing, or something
            else sets the rate too.
    """

    needs = (Range("gamma", 0, open_low=True),)
    examples = ({"milestones": (1,), "gamma": 0.5, "cosine_from": "1.5ep", "warmup_kind": "multiplier"},)

    def __init__(
        self,
        milestones: tuple[Time, ...] = ("0.25dur",),
        gamma: float = 0.1,
        cosine_from: Time = "0.5dur",
        warmup_epochs: Time = 0,
        warmup_kind: str = "linear",
    ):
        super().__init__(warmup_epochs, warmup_kind)
        for time in (*milestones, cosine_from):
            parse_time(time)
        self.milestones = tuple(milestones)
        self.gamma = gamma
        self.cosine_from = cosine_from

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self.drops = [in_steps(time, trainer) for time in self.milestones]
        self.switch = in_steps(self.cosine_from, trainer)
        if self.switch >= self.total:
            raise ValueError(
                f"StepThenCosine: the cosine would begin at step {self.switch} of {self.total}: let it begin earlier"
            )

    def factor(self, step: int) -> float:
        drops = sum(drop <= min(step, self.switch) for drop in self.drops)
        end = cosine(step - self.switch, self.total - self.switch) if step >= self.switch else 1
        return self.gamma**drops * end
