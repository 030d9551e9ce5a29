"""Step decay: divide the learning rate by a constant at given times, after a warm-up.

Paper:    Deep Residual Learning for Image Recognition (He et al.; CVPR 2016) https://arxiv.org/abs/1512.03385, 3.4;
          the baseline of Bag of Tricks (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, section 2.1
Code:     torch.optim.lr_scheduler.MultiStepLR
Equation: eta_t = eta gamma^n,  n = number of milestones <= t;   warm-up, batch i = 1 .. m: eta_i = i eta / m
Shapes:   none
Defaults: milestones = (30, 60, 90) epochs of 120 and gamma = .1, Bag of Tricks'; warmup_epochs = 0
Differs:  nothing
"""

import lightning as L

from callbacks.frame.decay import Decay
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Time, in_steps, parse_time


class StepDecay(Decay):
    """Set the learning rate of any LightningModule without a scheduler of its own.

    Args:
        milestones: when the rate drops: epochs, or times such as "0.5dur", "10ep", "32000st".
        gamma: what the rate is multiplied by at each milestone, > 0.
        warmup_epochs: length of the warm-up: epochs, >= 0, or "0.1dur", "500st".
        warmup_kind: "linear", "multiplier" or "constant", see `WarmUp`.

    Raises:
        ValueError: if a milestone is not a time, the warm-up leaves nothing, or something else sets the rate too.
    """

    needs = (Range("gamma", 0, open_low=True),)
    examples = ({"milestones": (1, "0.7dur"), "gamma": 0.5, "warmup_epochs": 0.5},)

    def __init__(
        self,
        milestones: tuple[Time, ...] = (30, 60, 90),
        gamma: float = 0.1,
        warmup_epochs: Time = 0,
        warmup_kind: str = "linear",
    ):
        super().__init__(warmup_epochs, warmup_kind)
        for time in milestones:
            parse_time(time)
        self.milestones = tuple(milestones)
        self.gamma = gamma

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self.drops = [in_steps(time, trainer) for time in self.milestones]

    def factor(self, step: int) -> float:
        return self.gamma ** sum(drop <= step for drop in self.drops)
