"""Confidence penalty: penalise predictions with a low entropy.

Paper:    Regularizing Neural Networks by Penalizing Confident Output Distributions (Pereyra, Tucker, Chorowski, Kaiser,
          Hinton; 2017) https://arxiv.org/abs/1701.06548, equation 5
Code:     none
Equation: L' = L - beta H(p),   H(p) = -sum_k p_k log p_k,   p = softmax(z)
Shapes:   logits z (N, K) -> scalar, the mean over images, in [0, ln K]
Defaults: weight = .1 (beta), ours
Differs:  without the paper's threshold on the entropy, which turns the penalty off early in training: give the weight a
          `Schedule` instead. The loss may become negative, as in the paper.
"""

import lightning as L
from torch import Tensor

from callbacks.frame.loss import Adding
from callbacks.frame.schedule import Linear, Rate
from zoo import Step


def entropy(z: Tensor) -> Tensor:
    """Return H of the equation above, in nats, float32: logits (N, K) -> (N,)."""
    log_p = z.float().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


class ConfidencePenalty(Adding):
    """Subtract the entropy of the predictions from the loss.

    Related to label smoothing: both pull predictions to the uniform distribution, with the two sides of the KL
    divergence swapped.

    Args:
        weight: beta, > 0, or a `Schedule`.

    Raises:
        ValueError: if the weight is out of its range.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    one_label = True
    examples = ({"weight": Linear(0, 0.5)},)
    taxonomy = "penalty"

    def __init__(self, weight: Rate = 0.1):
        self.weight = weight

    def term(self, model: L.LightningModule, step: Step) -> Tensor:
        return -entropy(step.logits).mean()
