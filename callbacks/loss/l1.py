"""L1: penalise the absolute values of weights, which drives unimportant weights to zero.

Paper:    Regression Shrinkage and Selection via the Lasso (Tibshirani; J. R. Stat. Soc. B 1996)
          https://doi.org/10.1111/j.2517-6161.1996.tb02080.x, equation 1
Code:     none
Equation: L' = L + lambda sum_i |w_i|
Shapes:   every trained parameter of more than one dimension -> scalar
Defaults: weight = 1e-5 (lambda), ours: choose it by validation
Differs:  the lasso is linear regression. Biases, norm layers and scales are not penalised. Plain (sub)gradient steps
          bring weights near zero, but not to zero: prune them afterwards.
"""

from torch import Tensor

from callbacks.frame.penalty import Penalty, norms
from callbacks.frame.schedule import Linear, Rate


def l1(weights: list[Tensor]) -> Tensor:
    """Return the sum of |w_i| over all weights, a scalar."""
    return norms(weights, 1).sum()


class L1(Penalty):
    """Add the sum of the absolute weights to the loss. Like every penalty, it is part of `train/loss`.

    Args:
        weight: lambda, > 0, or a `Schedule`.

    Raises:
        ValueError: if the weight is out of its range.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    examples = ({"weight": Linear(0, 1e-3)},)
    taxonomy = "penalty"

    def __init__(self, weight: Rate = 1e-5):
        self.weight = weight

    def penalty(self, weights: list[Tensor]) -> Tensor:
        return l1(weights)
