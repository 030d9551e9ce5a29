"""Binary cross-entropy: K questions of yes or no, so that a mixed image may be of both its classes.

Paper:    ResNet Strikes Back: An Improved Training Procedure in timm (Wightman, Touvron, Jegou; 2021)
          https://arxiv.org/abs/2110.00476, section 2.2
Code:     timm.loss.BinaryCrossEntropy
Equation: t = y, or t = [y > threshold];   q = (1 - eps) t + eps / K
          L = -(1/K) sum_k (q_k log s(z_k) + (1 - q_k) log(1 - s(z_k))),   s the sigmoid;  sum_classes: without 1/K
Shapes:   logits z (N, K), targets (N,) class indices or probabilities y (N, K) -> scalar, the mean over images
Defaults: threshold = 0: every class that is in the image, whatever its share; the mean over classes (timm), eps = 0
Differs:  the paper's text from memory, not checked. eps smooths after the threshold, where timm's threshold takes
          away what was smoothed before it; and mixed targets too. With the mean over K, slopes are those of the
          cross-entropy over K: the paper trains with LAMB, which does not mind; for SGD take sum_classes.
"""

import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.loss import Replacing
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities
from callbacks.loss.label_smoothing import smooth


def binary_cross_entropy(z: Tensor, q: Tensor, sum_classes: bool = False) -> Tensor:
    """L of the equation above: z, q (N, K) -> scalar, in float32."""
    each = F.binary_cross_entropy_with_logits(z.float(), q, reduction="none")
    return each.sum(1).mean() if sum_classes else each.mean()


class BinaryCrossEntropy(Replacing):
    """Replaces the training loss by K binary cross-entropies. Metrics and evaluation keep the cross-entropy.

    Args:
        threshold: in [0, 1): classes of a larger share than this are in the image; None: shares as they are.
        sum_classes: whether to sum over the classes, or to take their mean.
        smoothing: eps, in [0, 1).

    Raises:
        ValueError: for an argument out of its range, a second loss, or a trick before it that adds to the loss.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (Range("threshold", 0, 1, open_high=True), Range("smoothing", 0, 1, open_high=True))

    def __init__(self, threshold: float | None = 0.0, sum_classes: bool = False, smoothing: float = 0.0):
        self.threshold, self.sum_classes, self.smoothing = threshold, sum_classes, smoothing

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        q = probabilities(targets, logits.shape[1])
        if self.threshold is not None:
            q = (q > self.threshold).float()
        if self.smoothing:
            q = smooth(q, self.smoothing)
        return binary_cross_entropy(logits, q, self.sum_classes)
