"""Self-distillation: keep predictions close to those of the average of past weights.

Paper:    Mean Teachers Are Better Role Models (Tarvainen, Valpola; NeurIPS 2017) https://arxiv.org/abs/1703.01780
Code:     https://github.com/CuriousAI/mean-teacher at 621b537 (the authors'; `softmax_mse_loss` in pytorch/)
Equation: L' = L + w mean_nk (softmax(z)_nk - softmax(z')_nk)^2,   z' of the averaged weights theta',
          theta' <- d theta' + (1 - d) theta
Shapes:   logits z, z' (N, K) -> scalar
Defaults: decay = .999 (d); weight = 10 (w), ours: early in training, the average is near the initial weights,
          and a large w would keep the student there. The authors' command for CIFAR-10 raises w to 100 in 5 epochs:
          `weight=Linear(0, 100, until="5ep")`
Differs:  all images are labelled; in the paper most are not. The average predicts in eval mode, from the same images;
          the authors' predicts in training mode, from images augmented again. Their w rises as exp(-5 (1 - t)^2).
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.trick import Trick
from callbacks.frame.unsaved_parameters import without_hooks
from callbacks.optimization.ema import EMA
from zoo import Step
from zoo.frame.outputs import split_outputs
from zoo.frame.run import callbacks_of
from zoo.frame.sharded import forward_with


def consistency_loss(z: Tensor, v: Tensor) -> Tensor:
    """Return the squared distance of the probabilities, mean over batch and classes: z, v (N, K) -> scalar."""
    return F.mse_loss(z.float().softmax(1), v.float().softmax(1))


class SelfDistillation(Trick):
    """Add the distance from the predictions of the averaged weights to the loss.

    The average is that of an `EMA` with the same decay. If none is listed, this trick adds one for the fit, which is
    also evaluated (`val/acc_ema0.999`) and saved in checkpoints.

    Args:
        decay: d, weight of the old average at each optimizer step, in (0, 1), or a `Schedule`.
        weight: w, > 0, or a `Schedule`.

    Raises:
        ValueError: if an argument is out of its range.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    picture, partner = "diagram", "average of its weights"
    meets = (("logits", "softmax(z)", "mean squared distance", "softmax(z')"),)
    needs = (Range("decay", 0, 1, open_high=True, off_at_low=True), Range("weight", 0, off_at_low=True))
    reads_weights = True
    one_label = True
    examples = ({"decay": 0.5, "weight": Linear(0, 10)},)
    _ema: EMA | None = None
    _own = False

    def __init__(self, decay: Rate = 0.999, weight: Rate = 10.0):
        self.decay, self.weight = decay, weight

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        callbacks = callbacks_of(trainer)
        listed = [c for c in callbacks if isinstance(c, EMA) and c.decay == self.decay]
        self._own = not listed
        self._ema = listed[0] if listed else EMA(self.decay)
        if self._own:
            callbacks.insert(callbacks.index(self) + 1, self._ema)

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        assert self._ema is not None, "found by `prepare`"
        with torch.no_grad(), without_hooks(model, training=False):
            outputs = forward_with(model, self._ema.as_weights(), step.images.detach())
        term = consistency_loss(step.logits, split_outputs(outputs)[0])
        step.loss = step.loss + rate_now(self.weight, model.trainer) * term

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self._own and self._ema is not None and self._ema in callbacks_of(trainer):
            callbacks_of(trainer).remove(self._ema)
            self._own = False
