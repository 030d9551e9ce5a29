"""Uniform dropout: multiply each feature by a uniform random number around 1.

Paper:    Continuous Dropout (Shen, Tian, Liu, Xu, Tao; IEEE TNNLS 2018) https://arxiv.org/abs/1911.12675
Code:     https://github.com/jasonustc/caffe-multigpu, branch dropout (the authors')
Equation: y = x (1 + b (2 u - 1)),  u ~ U(0, 1),  b = sqrt(3 p / (1 - p)): the variance of inverted dropout at p
Shapes:   any -> same
Defaults: p = .25, which is b = 1, a factor from U(0, 2), where = "classifier": ours
Differs:  the parametrisation by p is ours; above p = .25 the factor may be negative.
"""

from math import sqrt

from torch import Tensor

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.masks import draws
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where


def noise(u: Tensor, p: float) -> Tensor:
    """Return 1 + b (2 u - 1). `u`: uniform draws in [0, 1); `p`: rate of the dropout of equal variance."""
    return 1 + sqrt(3 * p / (1 - p)) * (2 * u - 1)


class UniformDropout(FeatureDropout):
    """Multiply single features by noise, before the classifier or in the modules of `where`.

    Args:
        p: rate of the dropout whose variance the noise has, in (0, 1), or a `Schedule`.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    examples = ({"p": 0.1, "where": "input", "participation": 0.5},)
    acts_on = ANY

    def __init__(self, p: Rate = 0.25, where: Where = "classifier", participation: Rate = 1.0):
        super().__init__(p, where, participation)

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        return noise(draws(x, *x.shape), p)
