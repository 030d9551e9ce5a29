"""Initial loss: before it has learned anything, a network should find all classes equally likely.

Paper:    none. The check is the first one of A Recipe for Training Neural Networks (Karpathy; 2019)
          https://karpathy.github.io/2019/04/25/recipe/, "verify loss @ init". That the head's bias may start at ln p:
          Focal Loss (Lin et al.; ICCV 2017) https://arxiv.org/abs/1708.02002, section 4.1
Code:     none
Equation: CE = -log softmax(z)_y ~ ln K of an untrained network, whatever the classes' shares p are;
          ~ -sum_k p_k ln p_k where the head's bias was set to ln p
Shapes:   logits z (N, K), targets y (N,) or (N, K) -> one number
Defaults: tolerance .5, ours: a loss more than half above ln K comes from weights that are too large, or from images
          that were not normalised
Differs:  nothing to differ from
"""

import math

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.diagnostic import Look
from callbacks.frame.targets import probabilities
from callbacks.frame.trick import needs_on_loss, needs_range
from zoo import Step
from zoo.frame.checks import classes_of


def entropy(p: Tensor) -> Tensor:
    """-sum p ln p of probabilities (..., K), in nats; 0 ln 0 is 0."""
    return torch.special.entr(p).sum(-1)


class InitialLoss(Look):
    """Compares the cross-entropy of the first batch with ln K. Pretrained and resumed networks are left alone.

    Args:
        tolerance: how far from ln K it may be, as a share of it, > 0.

    Raises:
        ValueError: for a tolerance out of its range.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    def __init__(self, tolerance: float = 0.5):
        needs_range(self, "tolerance", tolerance, 0, float("inf"), open_low=True)
        self.tolerance = tolerance

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().setup(trainer, model, stage)
        needs_on_loss(self, model)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._seen, self._untrained = None, getattr(model, "untrained", True)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._untrained = self._untrained and trainer.global_step == 0  # not resumed

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        if self._untrained:
            self._untrained = False
            shares = probabilities(step.targets, step.logits.shape[1]).transpose(0, 1).flatten(1).mean(1)
            self._seen = torch.stack([F.cross_entropy(step.logits.detach().float(), step.targets), entropy(shares)])

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        if self._seen is not None:
            (loss, prior), self._seen = self._seen.tolist(), None
            self._judge(loss, prior, math.log(classes_of(model)))

    def _judge(self, loss: float, prior: float, chance: float) -> None:
        seen = f"the first batch's cross-entropy is {loss:.3f}; ln K is {chance:.3f}"
        if loss > (1 + self.tolerance) * chance:
            self.say(False, f"{seen}: the weights start too large, or the images are not normalised")
        elif loss < (1 - self.tolerance) * chance and loss < 0.9 * prior:
            self.say(False, f"{seen}: lower than chance: was the network trained before, do images show their labels?")
        else:
            self.say(True, f"{seen}, the entropy of that batch's classes {prior:.3f}")
