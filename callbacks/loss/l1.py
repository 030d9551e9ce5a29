"""L1: every weight pays by its size, so that those of no use go to zero.

Paper:    Regression Shrinkage and Selection via the Lasso (Tibshirani; J. R. Stat. Soc. B 1996)
          https://doi.org/10.1111/j.2517-6161.1996.tb02080.x, equation 1
Code:     none
Equation: L' = L + lambda sum_i |w_i|
Shapes:   every trained parameter of more than one dimension -> scalar
Defaults: lambda = 1e-5; no source for networks of this kind: choose it by validation
Differs:  the lasso is of linear regression. Biases, norms and scales are left out. Plain (sub)gradient steps bring
          weights near zero and not onto it: prune what is left.
"""

from torch import Tensor

from callbacks.frame.penalty import Penalty, norms
from callbacks.frame.schedule import Rate


def l1(weights: list[Tensor]) -> Tensor:
    """The sum of the equation above, a scalar."""
    return norms(weights, 1).sum()


class L1(Penalty):
    """Adds the sum of the weights' sizes to the loss. Like every penalty it counts in `train/loss`.

    Args:
        weight: lambda, > 0, or a `Schedule`.

    Raises:
        ValueError: for a weight out of its range.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    taxonomy = "penalty"

    def __init__(self, weight: Rate = 1e-5):
        self.weight = weight

    def penalty(self, weights: list[Tensor]) -> Tensor:
        return l1(weights)
