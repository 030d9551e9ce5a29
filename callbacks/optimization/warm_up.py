"""Warm-up: train the first steps at a lower learning rate, while the weights are still random.

Paper:    Accurate, Large Minibatch SGD (Goyal et al.; 2017) https://arxiv.org/abs/1706.02677, section 2.2: constant and
          gradual; Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019)
          https://arxiv.org/abs/1812.01187, 3.1; constant from Deep Residual Learning (He et al.; CVPR 2016)
          https://arxiv.org/abs/1512.03385, section 4.2
Code:     torch.optim.lr_scheduler.LinearLR(start_factor=f) and detectron2's "linear": our "multiplier"; ConstantLR
Equation: step x = 0 .. m - 1 of the warm-up has the rate of its schedule times
          "linear":     (x + 1) / m
          "multiplier": f (1 - a) + a,  a = x / m,  f = .001
          "constant":   .1
Shapes:   none
Defaults: epochs = 5, kind = "linear" (Bag of Tricks). Of the other kinds, f = .001 is detectron2's, and .1 is the rate
          .01 before .1 of ResNet-110
Differs:  the constant form lasts a given time; He et al. wait until the training error is below 80 %
"""

from typing import Any

import lightning as L
from torch.optim import Optimizer

from callbacks.frame import schedule
from callbacks.frame.needs import Choice, Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from callbacks.frame.warm_up import KINDS, warm_up


class WarmUp(Trick):
    """Warm up a run whose rate is constant or is set by the model's own scheduler. Works on any LightningModule.

    The rate is lowered within each optimizer step only. So a scheduler that computes the next rate from the present one
    (most of torch's do) follows its own curve, from the first step on. The schedules of `callbacks` warm up by
    themselves: `CosineDecay(warmup_epochs=5)`.

    Args:
        epochs: length of the warm-up, in epochs, > 0; a fraction is fine.
        kind: "linear", "multiplier" or "constant", see the equation.

    Raises:
        ValueError: for an argument out of its range, or if another trick sets the rate.
    """

    picture = "rates"
    needs = (Claims("set the learning rate"), Range("epochs", 0, open_low=True), Choice("kind", tuple(KINDS)))
    examples = ({"epochs": 0.5, "kind": "constant"},)
    _whole: tuple | list[tuple[dict, float]] = ()  # groups within a step, with their own rates

    def __init__(self, epochs: float = 5, kind: str = "linear"):
        self.epochs = epochs
        self.kind = kind

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        schedule.load_data(trainer)
        m = schedule.in_steps(self.epochs, trainer)

        def lower(optimizer: Optimizer, *_: Any) -> None:
            self._whole = [(group, group["lr"]) for group in optimizer.param_groups]
            for group, rate in self._whole:
                group["lr"] = rate * warm_up(trainer.global_step, m, self.kind)

        for optimizer in trainer.optimizers:
            self.keep_hooks(optimizer.register_step_pre_hook(lower))
            self.keep_hooks(optimizer.register_step_post_hook(self._restore))

    def _restore(self, *_: Any) -> None:
        for group, rate in self._whole:
            group["lr"] = rate
        self._whole = ()

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._restore()
