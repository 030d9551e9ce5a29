"""Label smoothing: take a little probability from the right class and give it to the others.

Paper:    Rethinking the Inception Architecture (Szegedy et al.; CVPR 2016) https://arxiv.org/abs/1512.00567, section 7
          Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 5.2
Code:     torch.nn.CrossEntropyLoss(label_smoothing=) and GluonCV's training script: the first reading
Equation: "torch": q = (1 - eps) y + eps / K             (Szegedy et al., PyTorch, timm, GluonCV)
          "paper": q = (1 - eps) y + eps (1 - y) / (K - 1)    (Bag of Tricks);  eps_torch = eps_paper K / (K - 1)
          L = -sum_i q_i log p_i
Shapes:   targets (N,) class indices or (N, K) probabilities -> (N, K)
Defaults: eps = .1 (both papers); reading "torch", which every published weight was trained with
Differs:  nothing. Soft targets (mixup) are smoothed by the same formula; it is linear, so the order does not matter.
"""

import lightning as L
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.needs import Claims, NothingAddedBefore, Range
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.targets import probabilities
from callbacks.frame.trick import Trick
from zoo import Step
from zoo.frame.checks import validate_choice

READINGS = ("torch", "paper")


def smooth(targets: Tensor, eps: float, reading: str = "torch") -> Tensor:
    """The equation above: probabilities (N, K) -> (N, K)."""
    k = targets.shape[1]
    others = 1 / k if reading == "torch" else (1 - targets) / (k - 1)
    return (1 - eps) * targets + eps * others


class LabelSmoothing(Trick):
    """Replaces the training loss by the cross-entropy with smoothed targets. Metrics and evaluation keep the true ones.

    Put it before tricks that add to the loss (distillation, penalties): it refuses to wipe out what they added.

    Args:
        eps: probability taken from the right class, in (0, 1], or a `Schedule`.
        reading: "torch" or "paper", see the equation.

    Raises:
        ValueError: for an argument out of its range, or a trick before it that adds to the loss.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    taxonomy = "data"
    needs = (Claims("replace the cross-entropy"), NothingAddedBefore(), Range("eps", 0, 1, off_at_low=True))

    def __init__(self, eps: Rate = 0.1, reading: str = "torch"):
        self.eps = eps
        self.reading = validate_choice(reading, READINGS, "LabelSmoothing")

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        targets = probabilities(step.targets, step.logits.shape[1])
        step.targets = smooth(targets, rate_now(self.eps, model.trainer), self.reading)
        step.loss = step.over_heads(lambda z: F.cross_entropy(z, step.targets))
