"""Keep rate: start a token-reducing transformer with all patches, and lower their number gradually.

Paper:    Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations (Liang, Ge, Tong,
          Song, Wang, Xie; ICLR 2022) https://arxiv.org/abs/2202.07800
Code:     https://github.com/youweiliang/evit at 5ca95a7 (the authors'; `helpers.py`, `adjust_keep_rate`)
Equation: keep_t = keep + (1 - keep) (1 + cos(pi (t - start) / (until - start))) / 2 from `start` to `until`; before, 1;
          afterwards the model's own keep
Shapes:   none: a number for each optimizer step
Defaults: start = "0.0333dur", until = "0.3667dur": epochs 10 and 110 of 300, the authors' training from scratch
Differs:  times are fractions of the run, where the authors have epochs. The number changes with optimizer steps, which
          are fewer than batches where gradients accumulate. Works for `DynamicViT` too, whose targets are powers of
          keep.
"""

import math
from typing import Any

import lightning as L
from torch import nn

from callbacks.frame.model_needs import HasModule
from callbacks.frame.pair_needs import Claims
from callbacks.frame.schedule import Time, in_steps, parse_time, total_steps
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture


def keep_at(step: int, start: int, until: int, keep: float) -> float:
    """Return keep_t of the equation.

    Args:
        step: t, in optimizer steps.
        start: step until which all patches are kept.
        until: step from which the model's own value holds.
        keep: the model's own value, in (0, 1].
    """
    if step < start:
        return 1.0
    if step >= until:
        return keep
    return keep + (1 - keep) * (1 + math.cos(math.pi * (step - start) / (until - start))) / 2


def has_rate(module: nn.Module) -> bool:
    """Return whether the module has a number `keep`, as EViT and DynamicViT have."""
    return isinstance(getattr(module, "keep", None), (int, float))


RATE = HasModule(
    has_rate,
    "lowers a fraction of patches that the network keeps",
    "take EViT or DynamicViT, or give the network an attribute `keep` that its forward reads",
)


class KeepRate(Trick):
    """Lower `keep` of an `EViT` or a `DynamicViT` from 1 to the model's own value.

    Validation during training uses the present value. The model ends with its own value, also if training is stopped.
    `torch.compile` would compile another graph for each number of patches: leave `compile` off.

    Args:
        start: time until which all patches are kept: a number of epochs, or a time such as "0.1dur".
        until: time at which the model's own value is reached, not before `start` and not after the run's end.

    Raises:
        ValueError: for an invalid time, or times in the wrong order.
        TypeError: for a network without a `keep`.
    """

    needs = (Claims("set the fraction of patches"), RATE)
    examples = ({"start": 0, "until": "1dur"},)

    def __init__(self, start: Time = "0.0333dur", until: Time = "0.3667dur"):
        for time in (start, until):
            parse_time(time)
        self.start, self.until = start, until
        self._network: Any = None  # EViT, DynamicViT, or any module with a `keep`

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._restore()  # a run that ended without teardown, such as the learning rate finder's
        self._network = RATE.find(self, model)
        self._own = self._network.keep

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._steps = in_steps(self.start, trainer), in_steps(self.until, trainer)
        start, until, end = *self._steps, total_steps(trainer)
        if not start <= until <= end:
            raise ValueError(
                f"KeepRate acts from step {start} to step {until}, and the run has {end}: they must be in this order; "
                "times as fractions of the run, such as until='0.4dur', fit any run"
            )

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._network.keep = keep_at(trainer.global_step, *self._steps, self._own)

    def _restore(self) -> None:
        if self._network is not None:
            self._network.keep = self._own
        self._network = None

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._restore()

    def draw(self) -> Picture:
        """Draw the fraction of the patches that an EViT keeps, over a run of 20 steps."""
        from callbacks.frame.pictures.steps import draw_steps

        return draw_steps(self, "fraction of patches kept", lambda model: model.keep, 20, small=False)
