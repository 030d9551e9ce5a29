"""Tversky loss: maximise the overlap of predicted and true classes; false positives and negatives cost differently.

Paper:    Tversky Loss Function for Image Segmentation Using 3D Fully Convolutional Deep Networks (Salehi, Erdogmus,
          Gholipour; 2017) https://arxiv.org/abs/1706.05721, equation 3
Code:     segmentation-models-pytorch and MONAI, for masks
Equation: T_k = (sum p_k y_k + s) / (sum p_k y_k + alpha sum p_k (1 - y_k) + beta sum (1 - p_k) y_k + s)
          L = 1 - mean_k T_k,   p = softmax(z);   the sums go over images, and over the pixels of masks
Shapes:   logits z and targets y (N, K) or (N, K, H, W), or classes (N,) or (N, H, W) -> scalar in [0, 1)
Defaults: alpha = .3 (false positives), beta = .7 (false negatives), smooth = 1 (s): ours
Differs:  the paper is on masks. For classification, the images of a batch take the place of the pixels, so that a batch
          should have several images of each class. Without s, a class that is not in the batch would have T = 0.
"""

import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.loss import Replacing
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities


def tversky_index(p: Tensor, y: Tensor, alpha: float, beta: float, s: float = 1.0) -> Tensor:
    """Return T of the equation above, (K,), in [0, 1]. alpha = beta = 1/2 is the Dice index, 1 the Jaccard index.

    Args:
        p, y: predicted and true probabilities (N, K, ...).
        alpha: cost of false positives, >= 0.
        beta: cost of false negatives, >= 0.
        s: smoothing, > 0.
    """
    p, y = p.transpose(0, 1).flatten(1), y.transpose(0, 1).flatten(1)
    both = (p * y).sum(1)
    return (both + s) / (both + alpha * (p.sum(1) - both) + beta * (y.sum(1) - both) + s)


def tversky_loss(z: Tensor, y: Tensor, alpha: float, beta: float, s: float = 1.0) -> Tensor:
    """Return L of the equation above, a float32 scalar.

    Args:
        z: logits (N, K, ...).
        y: probabilities (N, K, ...), or class indices (N, ...) int64.
        alpha, beta, s: see `tversky_index`.
    """
    if not y.is_floating_point():
        y = F.one_hot(y, z.shape[1]).movedim(-1, 1).float()
    return 1 - tversky_index(z.float().softmax(1), y, alpha, beta, s).mean()


class Tversky(Replacing):
    """Replace the training loss by the Tversky loss of the batch. Metrics and evaluation keep the cross-entropy.

    Args:
        alpha: cost of false positives, >= 0.
        beta: cost of false negatives, >= 0. Larger than alpha, it favours recall over precision.
        smooth: s, > 0.

    Raises:
        ValueError: if an argument is out of its range, with another loss, or after a trick that adds to the loss.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (Range("alpha", 0), Range("beta", 0), Range("smooth", 0, open_low=True))
    examples = ({"alpha": 0.5, "beta": 1.0, "smooth": 0.1},)

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0):
        if alpha + beta == 0:
            raise ValueError("Tversky: with alpha = beta = 0 nothing costs: give alpha=0.3, beta=0.7")
        self.alpha, self.beta, self.smooth = alpha, beta, smooth

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        y = probabilities(targets, logits.shape[1])
        return tversky_loss(logits, y, self.alpha, self.beta, self.smooth)
