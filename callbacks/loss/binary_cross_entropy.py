"""Binary cross-entropy: K yes-or-no decisions, so that a mixed image can belong to both its classes.

Paper:    ResNet Strikes Back: An Improved Training Procedure in timm (Wightman, Touvron, Jegou; 2021)
          https://arxiv.org/abs/2110.00476, section 2.2
Code:     timm.loss.BinaryCrossEntropy
Equation: t = y, or t = [y > threshold];   q = (1 - eps) t + eps / K
          L = -(1/K) sum_k (q_k log s(z_k) + (1 - q_k) log(1 - s(z_k))),   s the sigmoid;  sum_classes: without 1/K
Shapes:   logits z (N, K), targets (N,) class indices or probabilities y (N, K) -> scalar, the mean over images
Defaults: threshold = 0: every class of a mixed image is fully present; sum_classes = False, the mean over classes, as
          timm; smoothing = 0 (eps)
Differs:  eps smooths after the threshold, and mixed targets too; timm's threshold undoes smoothing. The mean over
          classes makes gradients K times smaller than those of the sum. This does not matter to LAMB, with which the
          paper trains; for SGD take sum_classes.
"""

import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.loss import Replacing
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities
from callbacks.loss.label_smoothing import smooth


def binary_cross_entropy(z: Tensor, q: Tensor, sum_classes: bool = False) -> Tensor:
    """Return L of the equation above, a float32 scalar.

    Args:
        z: logits (N, K).
        q: targets (N, K), in [0, 1].
        sum_classes: sum over classes; else their mean.
    """
    each = F.binary_cross_entropy_with_logits(z.float(), q, reduction="none")
    return each.sum(1).mean() if sum_classes else each.mean()


class BinaryCrossEntropy(Replacing):
    """Replace the training loss by K binary cross-entropies. Metrics and evaluation keep the cross-entropy.

    Args:
        threshold: in [0, 1). Classes with a larger probability get the target 1, others 0; None: keep probabilities.
        sum_classes: sum over classes, or take their mean.
        smoothing: eps, in [0, 1).

    Raises:
        ValueError: if an argument is out of its range, with another loss, or after a trick that adds to the loss.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (Range("threshold", 0, 1, open_high=True), Range("smoothing", 0, 1, open_high=True))
    one_label = False  # K decisions, each for itself
    examples = ({"threshold": None, "sum_classes": True, "smoothing": 0.1},)

    def __init__(self, threshold: float | None = 0.0, sum_classes: bool = False, smoothing: float = 0.0):
        self.threshold, self.sum_classes, self.smoothing = threshold, sum_classes, smoothing

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        q = probabilities(targets, logits.shape[1])
        if self.threshold is not None:
            q = (q > self.threshold).float()
        if self.smoothing:
            q = smooth(q, self.smoothing)
        return binary_cross_entropy(logits, q, self.sum_classes)
