"""Gradient flow: which parameters get no gradient, and where it vanishes or explodes.

Paper:    Understanding the Difficulty of Training Deep Feedforward Neural Networks (Glorot, Bengio; AISTATS 2010)
          https://proceedings.mlr.press/v9/glorot10a.html, section 4.2, looks at gradients layer by layer
Code:     lightning.pytorch.utilities.grad_norm logs the norms at every step; it says nothing of those that are missing
Equation: g_i = ||dL / dw_i||_2 for every parameter w_i; should be in [low, high]
Shapes:   one number a parameter
Defaults: [1e-6, 1e3], the notes' range; at the first optimizer step, the 21st and the first of each epoch. Too small is
          none at the very first, where blocks that start at 0 (zero gamma, layer scale) have let nothing through yet
Differs:  nothing to differ from
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.diagnostic import Look
from callbacks.frame.trick import needs_range

NAMED = 5  # names in a sentence; the rest are counted
LATER = 20  # steps after which what starts at 0 has left it


def listed(names: list[str]) -> str:
    """`a, b, c, d, e and 7 more`."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def gradient_norms(model: torch.nn.Module) -> tuple[list[str], dict[str, Tensor]]:
    """Names of trained parameters without a gradient, and the norms () of the others' gradients, on their device."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    without = [name for name, p in trained.items() if p.grad is None]
    those = {name: p.grad for name, p in trained.items() if p.grad is not None}
    return without, dict(zip(those, torch._foreach_norm([g.float() for g in those.values()]), strict=True))


class GradientFlow(Look):
    """Names the parameters that a step leaves without a gradient, or with one that is too small or too large.

    Args:
        low: a parameter's gradient norm that is still large enough, 0 <= low < high.
        high: one that is still small enough.

    Raises:
        ValueError: for a range that is none.
    """

    def __init__(self, low: float = 1e-6, high: float = 1e3):
        needs_range(self, "low", low, 0, high)
        self.low, self.high = low, high

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._epoch = None

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer) -> None:
        step = trainer.global_step
        if trainer.current_epoch == self._epoch and step != LATER:
            return
        self._epoch = trainer.current_epoch
        without, norms = gradient_norms(model)
        values = dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True)) if norms else {}
        self._judge(step, without, values)

    def _judge(self, step: int, without: list[str], norms: dict[str, float]) -> None:
        at, before = f"at step {step + 1}", len(self.findings)
        small = [name for name, norm in norms.items() if norm < self.low and step > 0]
        large = [name for name, norm in norms.items() if norm > self.high]
        if without:
            self.say(False, f"{at} no gradient reaches {listed(without)}: not on the way to the loss, or detached")
        if small:
            self.say(False, f"{at} gradients below {self.low:g} in {listed(small)}: they vanish, or units are dead")
        if large:
            self.say(False, f"{at} gradients above {self.high:g} in {listed(large)}: lower the rate, or clip them")
        if len(self.findings) == before:
            self.say(True, f"{at} gradient norms are from {min(norms.values()):.1e} to {max(norms.values()):.1e}")
