"""Gradient flow: find parameters without a gradient, and gradients that vanish or explode.

Paper:    Understanding the Difficulty of Training Deep Feedforward Neural Networks (Glorot, Bengio; AISTATS 2010)
          https://proceedings.mlr.press/v9/glorot10a.html, section 4.2, looks at gradients layer by layer
Code:     lightning.pytorch.utilities.grad_norm logs the norms at every step, but not which gradients are missing
Equation: g_i = ||dL / dw_i||_2 for every parameter w_i; should be in [low, high]
Shapes:   one number per parameter
Defaults: low = 1e-6, high = 1e3, ours; measured at optimizer steps 1 and 21 and at the first step of each epoch.
          Norms may be below low in the first step: blocks that start at 0 (zero gamma, layer scale) pass no gradient
Differs:  no reference
"""

from math import isfinite

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.loss_scale import is_scaled, needs_unscaled
from callbacks.frame.needs import Range
from zoo.frame.sharded import whole

NAMED = 5  # most names in a sentence; the others are counted
LATER = 20  # steps after which weights that start at 0 have moved


def join_names(names: list[str]) -> str:
    """Join names to "a, b, c, d, e and 7 more"."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def gradient_norms(model: torch.nn.Module) -> tuple[list[str], dict[str, Tensor]]:
    """Return the names of trained parameters without a gradient, and the gradient norms of the others.

    The norms are scalars on the parameters' device.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    without = [name for name, p in trained.items() if p.grad is None]
    gradients = {name: p.grad for name, p in trained.items() if p.grad is not None}
    return without, dict(zip(gradients, torch._foreach_norm([g.float() for g in gradients.values()]), strict=True))


class GradientFlow(Diagnostic):
    """Name the parameters whose gradient is missing, too small or too large.

    Args:
        low: least gradient norm of a parameter, 0 <= low < high.
        high: largest gradient norm of a parameter.

    Raises:
        ValueError: if low is not below high.
        TypeError: for a fused optimizer in 16 bits.
    """

    needs = (Range("low", 0, "high"),)
    reads_weights = True
    examples = ({"low": 0.0, "high": 10.0},)

    def __init__(self, low: float = 1e-6, high: float = 1e3):
        self.low, self.high = low, high

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        needs_unscaled(self, trainer)
        self._epoch: int | None = None

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer) -> None:
        step = trainer.global_step
        if trainer.current_epoch == self._epoch and step != LATER:
            return
        self._epoch = trainer.current_epoch
        without, norms = gradient_norms(model)
        values = dict(zip(norms, whole(torch.stack(list(norms.values()))).tolist(), strict=True)) if norms else {}
        if is_scaled(trainer) and not all(map(isfinite, values.values())):  # an overflow: the scaler skips this step
            self._epoch = None
            return
        self.measured = "gradient norm", values
        self._judge(step, without, values)

    def _judge(self, step: int, without: list[str], norms: dict[str, float]) -> None:
        at, before = f"at step {step + 1}", len(self.findings)
        small = [name for name, norm in norms.items() if norm < self.low and step > 0]
        large = [name for name, norm in norms.items() if norm > self.high]
        if without:
            self.say(False, f"{at} no gradient reaches {join_names(without)}: unused in the loss, or detached")
        if small:
            cause = "they vanish, or units are dead"
            self.say(False, f"{at} gradients are below {self.low:g} in {join_names(small)}: {cause}")
        if large:
            cure = "lower the learning rate, or clip gradients"
            self.say(False, f"{at} gradients are above {self.high:g} in {join_names(large)}: {cure}")
        if len(self.findings) == before:
            self.say(True, f"{at} gradient norms are from {min(norms.values()):.1e} to {max(norms.values()):.1e}")
