"""Self-distillation: the student stays near the average of its own past weights.

Paper:    Mean Teachers Are Better Role Models (Tarvainen, Valpola; NeurIPS 2017) https://arxiv.org/abs/1703.01780
Code:     https://github.com/CuriousAI/mean-teacher at 621b537 (the authors'; `softmax_mse_loss` in pytorch/)
Equation: L' = L + w mean_nk (softmax(z)_nk - softmax(z')_nk)^2,   z' of the averaged weights theta',
          theta' <- d theta' + (1 - d) theta
Shapes:   logits z, z' (N, K) -> scalar
Defaults: decay = .999 (d); weight = 10 (w): ours, an average that is still where training began would hold the student
          there. Their command for CIFAR-10 has 100, which w reaches in the first 5 epochs: `weight=Linear(0, 100,
          until="5ep")`
Differs:  all images have labels and count in L; theirs are mostly without. The average answers in eval mode and on the
          same images; theirs in training mode, on images augmented once more. Their rise follows exp(-5 (1 - t)^2).
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.trick import Trick
from callbacks.frame.unsaved_parameters import without_hooks
from callbacks.optimization.ema import EMA
from zoo import Step
from zoo.frame.classifier import split_outputs


def consistency_loss(z: Tensor, v: Tensor) -> Tensor:
    """Squared distance of the probabilities, mean over batch and classes. z, v (N, K) -> scalar."""
    return F.mse_loss(z.float().softmax(1), v.float().softmax(1))


class SelfDistillation(Trick):
    """Adds the distance from what the averaged weights say to the loss.

    The average is that of an `EMA` of the same decay; where none is listed, one is put behind this trick for the fit:
    it is evaluated too, as `val/acc_ema0.999`, and in checkpoints under its name.

    Args:
        decay: d, share of the old average kept at each optimizer step, in (0, 1), or a `Schedule`.
        weight: w, > 0, or a `Schedule`.

    Raises:
        ValueError: for an argument out of its range.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (Range("decay", 0, 1, open_high=True, off_at_low=True), Range("weight", 0, off_at_low=True))
    _ema: EMA | None = None
    _own = False

    def __init__(self, decay: Rate = 0.999, weight: Rate = 10.0):
        self.decay, self.weight = decay, weight

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        listed = [c for c in trainer.callbacks if isinstance(c, EMA) and c.decay == self.decay]
        self._own = not listed
        self._ema = listed[0] if listed else EMA(self.decay)
        if self._own:
            trainer.callbacks.insert(trainer.callbacks.index(self) + 1, self._ema)

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        with torch.no_grad(), without_hooks(model, training=False):
            outputs = functional_call(model, self._ema.average, (step.images.detach(),))
        term = consistency_loss(step.logits, split_outputs(outputs)[0])
        step.loss = step.loss + rate_now(self.weight, model.trainer) * term

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self._own and self._ema in trainer.callbacks:
            trainer.callbacks.remove(self._ema)
            self._own = False
