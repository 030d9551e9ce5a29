"""L2: penalise the squares of weights, as a term of the loss.

Paper:    A Simple Weight Decay Can Improve Generalization (Krogh, Hertz; NIPS 1991)
          https://papers.nips.cc/paper/563-a-simple-weight-decay-can-improve-generalization, equation 4
          Decoupled Weight Decay Regularization (Loshchilov, Hutter; ICLR 2019) https://arxiv.org/abs/1711.05101, on the
          difference from weight decay
Code:     torch.optim.SGD(weight_decay=lambda) takes the same steps
Equation: L' = L + lambda / 2 sum_i w_i^2,   which adds lambda w_i to the gradient of w_i
Shapes:   every trained parameter of more than one dimension -> scalar
Defaults: weight = 1e-4 (lambda), the weight decay of ResNet (He et al. 2015,
          https://arxiv.org/abs/1512.03385)
Differs:  nothing. With SGD, it equals the optimizer's `weight_decay` without biases and norm layers: set that to 0, or
          weights decay twice. Adam also divides lambda w by the gradient's scale, so that weights with large gradients
          decay less; AdamW's decay is not divided. The penalty is part of `train/loss`.
"""

from torch import Tensor

from callbacks.frame.penalty import Penalty, norms
from callbacks.frame.schedule import Rate


def l2(weights: list[Tensor]) -> Tensor:
    """Return half the sum of w_i^2 over all weights, a scalar."""
    return norms(weights, 2).square().sum() / 2


class L2(Penalty):
    """Add half the sum of the squared weights to the loss. The optimizer's `weight_decay` needs no term in the loss.

    Args:
        weight: lambda, > 0, or a `Schedule`.

    Raises:
        ValueError: if the weight is out of its range.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    examples = ({"weight": 0.01},)
    taxonomy = "penalty"

    def __init__(self, weight: Rate = 1e-4):
        self.weight = weight

    def penalty(self, weights: list[Tensor]) -> Tensor:
        return l2(weights)
