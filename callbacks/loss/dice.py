"""Dice loss: the overlap of what was said and what is so.

Paper:    V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation (Milletari, Navab,
          Ahmadi; 3DV 2016) https://arxiv.org/abs/1606.04797, section 3
Code:     none; `callbacks/loss/tversky.py` with alpha = beta = .5
Equation: D_k = (2 sum p_k y_k + 2 s) / (sum p_k + sum y_k + 2 s),   L = 1 - mean_k D_k,   p = softmax(z)
Shapes:   as Tversky's: (N, K) or (N, K, H, W) -> scalar in [0, 1)
Defaults: s = 1 (ours: of the order of one image)
Differs:  sums of p, where V-Net has sums of p squared (from memory of the paper, not checked). For classification, as
          Tversky: the images of a batch take the place of a mask's pixels.
"""

from torch import Tensor

from callbacks.frame.loss import Replacing
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities
from callbacks.loss.tversky import tversky_loss


def dice_loss(z: Tensor, y: Tensor, s: float = 1.0) -> Tensor:
    """L of the equation above. z (N, K, ...) logits; y likewise, or classes (N, ...) int64 -> scalar, in float32."""
    return tversky_loss(z, y, 0.5, 0.5, s)


class Dice(Replacing):
    """Replaces the training loss by the Dice loss of the batch. Metrics and evaluation keep the cross-entropy.

    Args:
        smooth: s, > 0.

    Raises:
        ValueError: for an argument out of its range, a second loss, or a trick before it that adds to the loss.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (Range("smooth", 0, open_low=True),)

    def __init__(self, smooth: float = 1.0):
        self.smooth = smooth

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return dice_loss(logits, probabilities(targets, logits.shape[1]), self.smooth)
