"""Dice loss: maximise the overlap of predicted and true classes.

Paper:    V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation (Milletari, Navab,
          Ahmadi; 3DV 2016) https://arxiv.org/abs/1606.04797, section 3
Code:     none; `callbacks/loss/tversky.py` with alpha = beta = .5
Equation: D_k = (2 sum p_k y_k + 2 s) / (sum p_k + sum y_k + 2 s),   L = 1 - mean_k D_k,   p = softmax(z)
Shapes:   logits z (N, K) or (N, K, H, W) -> scalar in [0, 1)
Defaults: smooth = 1 (s), ours: as much as one image
Differs:  the sums go over p, not over its square. For classification, the images of a batch take the place of the
          pixels of a mask.
"""

from torch import Tensor

from callbacks.frame.loss import Replacing
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities
from callbacks.loss.tversky import tversky_loss


def dice_loss(z: Tensor, y: Tensor, s: float = 1.0) -> Tensor:
    """Return L of the equation above, a float32 scalar.

    Args:
        z: logits (N, K, ...).
        y: probabilities (N, K, ...), or class indices (N, ...) int64.
        s: smoothing, > 0.
    """
    return tversky_loss(z, y, 0.5, 0.5, s)


class Dice(Replacing):
    """Replace the training loss by the Dice loss of the batch. Metrics and evaluation keep the cross-entropy.

    Args:
        smooth: s, > 0.

    Raises:
        ValueError: if an argument is out of its range, with another loss, or after a trick that adds to the loss.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (Range("smooth", 0, open_low=True),)
    examples = ({"smooth": 0.1},)

    def __init__(self, smooth: float = 1.0):
        self.smooth = smooth

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return dice_loss(logits, probabilities(targets, logits.shape[1]), self.smooth)
