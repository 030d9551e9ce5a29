"""Generalized cross-entropy: between the cross-entropy and the absolute error, for data with wrong labels.

Paper:    Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels (Zhang, Sabuncu;
          NeurIPS 2018) https://arxiv.org/abs/1805.07836, equation 6
Code:     none used
Equation: L_q = sum_k y_k (1 - p_k^q) / q,   p = softmax(z);   q -> 0: cross-entropy;  q = 1: absolute error, halved
Shapes:   logits z (N, K), targets (N,) class indices or probabilities y (N, K) -> scalar, the mean over images
Defaults: q = .7, the paper's
Differs:  without the paper's truncated variant, which leaves out images of a low p. Mixed targets mix the losses of
          their classes.
"""

import torch
from torch import Tensor

from callbacks.frame.loss import Replacing
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities


def generalized_cross_entropy(z: Tensor, y: Tensor, q: float) -> Tensor:
    """Return L_q of the equation above, a float32 scalar.

    Args:
        z: logits (N, K), or (N, K, H, W) for pixels.
        y: probabilities, of the shape of z.
        q: in (0, 1].
    """
    return -(y * torch.expm1(q * z.float().log_softmax(1))).sum(1).mean() / q


class GeneralizedCrossEntropy(Replacing):
    """Replace the training loss by the generalized cross-entropy. Metrics and evaluation keep the cross-entropy.

    An image that the network finds improbable has a gradient p^q times that of the cross-entropy, so that wrong labels
    pull less. Learning is slower for it.

    Args:
        q: in (0, 1]; the larger, the less do improbable labels count.

    Raises:
        ValueError: if q is out of its range, with another loss, or after a trick that adds to the loss.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (Range("q", 0, 1, open_low=True),)
    examples = ({"q": 0.4},)

    def __init__(self, q: float = 0.7):
        self.q = q

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return generalized_cross_entropy(logits, probabilities(targets, logits.shape[1]), self.q)
