"""Warm restarts: restart the cosine several times, each time for longer.

Paper:    SGDR: Stochastic Gradient Descent with Warm Restarts (Loshchilov, Hutter; ICLR 2017)
          https://arxiv.org/abs/1608.03983, eq. 5 and section 3
Code:     torch.optim.lr_scheduler.CosineAnnealingWarmRestarts
Equation: eta_t = (1 + cos(pi T_cur / T_i)) eta / 2,   T_cur steps since the i-th restart,   T_(i+1) = T_mult T_i
Shapes:   none
Defaults: first = 10 epochs (T_0) and multiply = 2 (T_mult), restarts at epochs 10, 30, 70, 150; warmup_epochs = 0: ours
Differs:  the rate ends at 0 (eta_min = 0); a warm-up may come first
"""

import lightning as L

from callbacks.frame.decay import Decay, cosine
from callbacks.frame.schedule import Time, parse_time


def since_restart(t: int, first: int, multiply: int) -> tuple[int, int]:
    """Return (T_cur, T_i): steps since the last restart, and the length of the present cycle.

    Args:
        t: steps since the start.
        first: length of the first cycle, in steps.
        multiply: length of a cycle divided by the length of the cycle before.
    """
    while t >= first:
        t, first = t - first, first * multiply
    return t, first


class WarmRestarts(Decay):
    """Set the learning rate of any LightningModule without a scheduler of its own.

    Stop the run at the end of a cycle: with the defaults after 10, 30, 70 or 150 epochs. `SnapshotEnsemble` has cycles
    of one length, and keeps the weights at the end of each.

    Args:
        first: T_0, length of the first cycle: epochs, or a time such as "0.1dur", "10ep", "500st".
        multiply: T_mult, length of a cycle divided by the length of the cycle before, a whole number >= 1.
        warmup_epochs: length of the warm-up: epochs, >= 0, or "0.1dur", "500st".
        warmup_kind: "linear", "multiplier" or "constant", see `WarmUp`.

    Raises:
        ValueError: for an argument out of its range, a cycle shorter than a step, a warm-up that leaves nothing, or if
            something else sets the rate too.
    """

    examples = ({"first": "2st", "multiply": 1, "warmup_epochs": 0.5},)

    def __init__(self, first: Time = 10, multiply: int = 2, warmup_epochs: Time = 0, warmup_kind: str = "linear"):
        super().__init__(warmup_epochs, warmup_kind)
        parse_time(first)
        if multiply < 1 or multiply != int(multiply):
            raise ValueError(f"WarmRestarts: multiply must be a whole number >= 1, got {multiply}")
        self.first = first
        self.multiply = multiply

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self.length_first = self.steps("first", self.first, trainer)

    def factor(self, step: int) -> float:
        return cosine(*since_restart(step - self.warmup, self.length_first, self.multiply))
