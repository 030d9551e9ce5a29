"""L2: every weight pays by its square, as a term of the loss.

Paper:    A Simple Weight Decay Can Improve Generalization (Krogh, Hertz; NIPS 1991)
          https://papers.nips.cc/paper/563-a-simple-weight-decay-can-improve-generalization, equation 4
          Decoupled Weight Decay Regularization (Loshchilov, Hutter; ICLR 2019) https://arxiv.org/abs/1711.05101: what
          sets it apart from weight decay
Code:     torch.optim.SGD(weight_decay=lambda) takes the same steps
Equation: L' = L + lambda / 2 sum_i w_i^2,   so that each w_i has lambda w_i added to its slope
Shapes:   every trained parameter of more than one dimension -> scalar
Defaults: lambda = 1e-4, the weight decay that CNNs are trained with (He et al. 2015, https://arxiv.org/abs/1512.03385)
Differs:  nothing. With SGD it is the optimizer's `weight_decay` on all but biases and norms: set that to 0, or weights
          pay twice. With Adam the slope lambda w is divided by the gradient's size too, so that weights of large
          gradients decay less; AdamW's decay is outside of that, and another thing. And here it counts in `train/loss`.
"""

from torch import Tensor

from callbacks.frame.penalty import Penalty, norms
from callbacks.frame.schedule import Rate


def l2(weights: list[Tensor]) -> Tensor:
    """Half the sum of squares, a scalar: the term above without lambda."""
    return norms(weights, 2).square().sum() / 2


class L2(Penalty):
    """Adds half the weights' squares to the loss. For the same without a term in the loss: `weight_decay`.

    Args:
        weight: lambda, > 0, or a `Schedule`.

    Raises:
        ValueError: for a weight out of its range.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    taxonomy = "penalty"

    def __init__(self, weight: Rate = 1e-4):
        self.weight = weight

    def penalty(self, weights: list[Tensor]) -> Tensor:
        return l2(weights)
