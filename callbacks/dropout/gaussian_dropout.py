"""Gaussian dropout: multiply each feature by normal noise of mean 1.

Paper:    Dropout: A Simple Way to Prevent Neural Networks from Overfitting (Srivastava, Hinton, Krizhevsky, Sutskever,
          Salakhutdinov; JMLR 15, 2014), section 10, https://jmlr.org/papers/v15/srivastava14a.html, and
          https://arxiv.org/abs/1207.0580
Code:     Keras `GaussianDropout` has the same variance
Equation: y = x (1 + sigma n),  n ~ N(0, 1),  sigma^2 = p / (1 - p): the variance of inverted dropout at p
Shapes:   any -> same
Defaults: p = .5, which is sigma = 1, where = "classifier": ours, as `Dropout`
Differs:  nothing known
"""

from math import sqrt

import torch
from torch import Tensor

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.schedule import Linear, Rate
from callbacks.frame.where import Where


def noise(normal: Tensor, p: float) -> Tensor:
    """Return 1 + sigma n. `normal`: standard normal draws n; `p`: rate of the dropout of equal variance."""
    return 1 + sqrt(p / (1 - p)) * normal


class GaussianDropout(FeatureDropout):
    """Multiply single features by noise, before the classifier or in the modules of `where`.

    Args:
        p: rate of the dropout whose variance the noise has, in (0, 1), or a `Schedule`.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    examples = ({"p": 0.2, "where": "input", "participation": Linear(0, 1)},)
    acts_on = ANY

    def __init__(self, p: Rate = 0.5, where: Where = "classifier", participation: Rate = 1.0):
        super().__init__(p, where, participation)

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        return noise(torch.randn(x.shape, dtype=torch.float32, device=x.device), p)
