"""Confidence penalty: a network that is too sure of itself pays for it.

Paper:    Regularizing Neural Networks by Penalizing Confident Output Distributions (Pereyra, Tucker, Chorowski, Kaiser,
          Hinton; 2017) https://arxiv.org/abs/1701.06548, equation 5
Code:     none
Equation: L' = L - beta H(p),   H(p) = -sum_k p_k log p_k,   p = softmax(z)
Shapes:   logits z (N, K) -> scalar, the mean over images, in [0, ln K]
Defaults: beta = .1 (from memory: what the paper found for images; its grid goes from .1 to 10)
Differs:  beta not checked against the paper. Its threshold on the entropy, for the start of training, is left out: a
          `Schedule` of the weight serves. The loss may become negative, as in the paper.
"""

import lightning as L
from torch import Tensor

from callbacks.frame.loss import Adding
from callbacks.frame.schedule import Rate
from zoo import Step


def entropy(z: Tensor) -> Tensor:
    """H of the equation above: logits (N, K) -> (N,), in nats, float32."""
    log_p = z.float().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


class ConfidencePenalty(Adding):
    """Takes the entropy of the predictions from the loss, so that they spread. Like label smoothing, other way round.

    Args:
        weight: beta, > 0, or a `Schedule`.

    Raises:
        ValueError: for a weight out of its range.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    taxonomy = "penalty"

    def __init__(self, weight: Rate = 0.1):
        self.weight = weight

    def term(self, model: L.LightningModule, step: Step) -> Tensor:
        return -entropy(step.logits).mean()
