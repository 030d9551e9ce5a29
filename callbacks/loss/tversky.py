"""Tversky loss: how much of a class was found, where false alarms and misses may cost differently.

Paper:    Tversky Loss Function for Image Segmentation Using 3D Fully Convolutional Deep Networks (Salehi, Erdogmus,
          Gholipour; 2017) https://arxiv.org/abs/1706.05721, equation 3
Code:     none installed; (segmentation-models-pytorch and MONAI have it for masks)
Equation: T_k = (sum p_k y_k + s) / (sum p_k y_k + alpha sum p_k (1 - y_k) + beta sum (1 - p_k) y_k + s)
          L = 1 - mean_k T_k,   p = softmax(z);  the sums go over images, and over pixels where there are any
Shapes:   logits z and targets y (N, K) or (N, K, H, W), or classes (N,) or (N, H, W) -> scalar in [0, 1)
Defaults: alpha = .3 of false alarms, beta = .7 of misses (from memory of the paper); s = 1
Differs:  not checked against the paper. It is on masks; here the images of a batch take the place of its pixels, so a
          batch should hold several images of each class. s keeps a class that is in none from costing all.
"""

import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.loss import Replacing
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities


def tversky_index(p: Tensor, y: Tensor, alpha: float, beta: float, s: float = 1.0) -> Tensor:
    """T of the equation above, in [0, 1]: p, y (N, K, ...) -> (K,). alpha = beta: .5 is Dice's, 1 is Jaccard's."""
    p, y = p.transpose(0, 1).flatten(1), y.transpose(0, 1).flatten(1)
    both, either = (p * y).sum(1), (p.sum(1), y.sum(1))
    return (both + s) / (both + alpha * (either[0] - both) + beta * (either[1] - both) + s)


def tversky_loss(z: Tensor, y: Tensor, alpha: float, beta: float, s: float = 1.0) -> Tensor:
    """1 minus the mean index. z (N, K, ...) logits; y likewise, or classes (N, ...) int64 -> scalar, in float32."""
    if not y.is_floating_point():
        y = F.one_hot(y, z.shape[1]).movedim(-1, 1).float()
    return 1 - tversky_index(z.float().softmax(1), y, alpha, beta, s).mean()


class Tversky(Replacing):
    """Replaces the training loss by the Tversky loss of the batch. Metrics and evaluation keep the cross-entropy.

    Args:
        alpha: cost of false alarms, >= 0.
        beta: cost of misses, >= 0; larger than alpha: recall before precision.
        smooth: s, > 0.

    Raises:
        ValueError: for an argument out of its range, a second loss, or a trick before it that adds to the loss.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (Range("alpha", 0), Range("beta", 0), Range("smooth", 0, open_low=True))

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0):
        if alpha + beta == 0:
            raise ValueError("Tversky: with alpha = beta = 0 nothing costs: give alpha=0.3, beta=0.7")
        self.alpha, self.beta, self.smooth = alpha, beta, smooth

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        y = probabilities(targets, logits.shape[1])
        return tversky_loss(logits, y, self.alpha, self.beta, self.smooth)
