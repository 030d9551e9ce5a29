"""Initial loss: check that the cross-entropy of an untrained network is that of equally probable classes.

Paper:    none. "Verify loss @ init" in A Recipe for Training Neural Networks (Karpathy; 2019)
          https://karpathy.github.io/2019/04/25/recipe/. The head's bias may start at ln p: Focal Loss (Lin et al.;
          ICCV 2017) https://arxiv.org/abs/1708.02002, section 4.1
Code:     none
Equation: CE = -log softmax(z)_y is about ln K in an untrained network, for any class frequencies p;
          about -sum_k p_k ln p_k if the head's bias starts at ln p
Shapes:   logits z (N, K), targets y (N,) or (N, K) -> one number
Defaults: tolerance = .5, ours: weights that start too large, or images without normalisation, give more
Differs:  no reference
"""

import math

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities
from zoo import Step
from zoo.frame.checks import classes_of


def entropy(p: Tensor) -> Tensor:
    """Return -sum_k p_k ln p_k in nats, of probabilities (..., K), with 0 ln 0 = 0."""
    return torch.special.entr(p).sum(-1)


class InitialLoss(Diagnostic):
    """Compare the cross-entropy of the first batch with ln K. Skips pretrained networks and resumed runs.

    Args:
        tolerance: largest distance from ln K, as a fraction of ln K, > 0.

    Raises:
        ValueError: if the tolerance is out of its range.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (Range("tolerance", 0, open_low=True),)
    one_label = True
    examples = ({"tolerance": 2.0},)
    _seen: Tensor | None = None

    def __init__(self, tolerance: float = 0.5):
        self.tolerance = tolerance

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._seen, self._untrained = None, getattr(model, "untrained", True)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._untrained = self._untrained and trainer.global_step == 0  # not resumed

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        if self._untrained:
            self._untrained = False
            frequencies = probabilities(step.targets, step.logits.shape[1]).transpose(0, 1).flatten(1).mean(1)
            loss = F.cross_entropy(step.logits.detach().float(), step.targets)
            self._seen = torch.stack([loss, entropy(frequencies)])

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        if self._seen is not None:
            (loss, prior), self._seen = self._seen.tolist(), None
            chance = math.log(classes_of(model))
            self.measured = "nats", {"first loss": loss, "entropy of the classes": prior, "ln K": chance}
            self._judge(loss, prior, chance)

    def _judge(self, loss: float, prior: float, chance: float) -> None:
        values = f"the cross-entropy of the first batch is {loss:.3f}; ln K is {chance:.3f}"
        if loss > (1 + self.tolerance) * chance:
            self.say(False, f"{values}: the weights start too large, or the images are not normalised")
        elif loss < (1 - self.tolerance) * chance and loss < 0.9 * prior:
            self.say(False, f"{values}: better than chance: was the network trained before, do images show the labels?")
        else:
            self.say(True, f"{values}, the entropy of the batch's classes {prior:.3f}")
