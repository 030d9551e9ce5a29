"""Label smoothing: move a little probability from the true class to the others.

Paper:    Rethinking the Inception Architecture (Szegedy et al.; CVPR 2016) https://arxiv.org/abs/1512.00567, section 7
          Bag of Tricks for Image Classification with CNNs (He et al.; CVPR 2019) https://arxiv.org/abs/1812.01187, 5.2
Code:     torch.nn.CrossEntropyLoss(label_smoothing=) and GluonCV's training script: formulation "torch"
Equation: "torch": q = (1 - eps) y + eps / K             (Szegedy et al., PyTorch, timm, GluonCV)
          "paper": q = (1 - eps) y + eps (1 - y) / (K - 1)    (Bag of Tricks);  eps_torch = eps_paper K / (K - 1)
          L = -sum_i q_i log p_i
Shapes:   targets (N,) class indices or (N, K) probabilities -> (N, K)
Defaults: eps = .1 (both papers); formulation = "torch", that of PyTorch, timm and GluonCV
Differs:  nothing. Soft targets (mixup) are smoothed by the same formula. It is linear, so that the order of mixing and
          smoothing does not matter.
"""

import lightning as L
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.needs import Choice, Range
from callbacks.frame.pair_needs import Claims, NothingAddedBefore
from callbacks.frame.schedule import Rate, Steps, rate_now
from callbacks.frame.targets import probabilities
from callbacks.frame.trick import Trick
from zoo import Step

FORMULATIONS = ("torch", "paper")


def smooth(targets: Tensor, eps: float, formulation: str = "torch") -> Tensor:
    """Return q of the equation above.

    Args:
        targets: probabilities (N, K).
        eps: in [0, 1].
        formulation: "torch" or "paper".
    """
    k = targets.shape[1]
    others = 1 / k if formulation == "torch" else (1 - targets) / (k - 1)
    return (1 - eps) * targets + eps * others


class LabelSmoothing(Trick):
    """Replace the training loss by the cross-entropy with smoothed targets. Metrics and evaluation keep the true ones.

    List it before tricks that add to the loss (distillation, penalties), whose terms it would overwrite.

    Args:
        eps: probability that is moved, in (0, 1], or a `Schedule`.
        formulation: "torch" or "paper", see the equation.

    Raises:
        ValueError: if an argument is out of its range, or after a trick that adds to the loss.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    taxonomy = "data"
    needs = (
        Claims("replace the cross-entropy"),
        NothingAddedBefore(),
        Range("eps", 0, 1, off_at_low=True),
        Choice("formulation", FORMULATIONS),
    )
    one_label = True
    examples = ({"eps": Steps(0, {"1ep": 0.2}), "formulation": "paper"},)

    def __init__(self, eps: Rate = 0.1, formulation: str = "torch"):
        self.eps = eps
        self.formulation = formulation

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        targets = probabilities(step.targets, step.logits.shape[1])
        step.targets = smooth(targets, rate_now(self.eps, model.trainer), self.formulation)
        step.loss = step.over_heads(lambda z: F.cross_entropy(z, step.targets))
