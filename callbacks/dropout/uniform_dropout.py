"""Uniform dropout: each feature is multiplied by a number drawn evenly around 1.

Paper:    Continuous Dropout (Shen, Tian, Liu, Xu, Tao; IEEE TNNLS 2018) https://arxiv.org/abs/1911.12675
Code:     https://github.com/jasonustc/caffe-multigpu, branch dropout (the authors', not read)
Equation: y = x (1 + b (2 u - 1)),  u ~ U(0, 1),  b = sqrt(3 p / (1 - p)): the variance of inverted dropout at p
Shapes:   any -> same
Defaults: p = .25, before the classifier: b = 1, a factor from U(0, 2)
Differs:  not checked against the paper, whose factor is u in [0, 1), from memory, with evaluation halved: at p = .25
          that is this one. Above it the factor may be negative.
"""

from math import sqrt

from torch import Tensor

from callbacks.frame.feature_dropout import ANY, FeatureDropout, Where, draws
from callbacks.frame.schedule import Rate


def noise(u: Tensor, p: float) -> Tensor:
    """1 + b (2 u - 1) of uniform draws u in [0, 1)."""
    return 1 + sqrt(3 * p / (1 - p)) * (2 * u - 1)


class UniformDropout(FeatureDropout):
    """Multiplies single features by noise, before the classifier or where you say.

    Args:
        p: of the dropout whose variance the noise has, in (0, 1), or a `Schedule`.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    acts_on = ANY

    def __init__(self, p: Rate = 0.25, where: Where = "classifier", participation: Rate = 1.0):
        super().__init__(p, where, participation)

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        return noise(draws(x, *x.shape), p)
