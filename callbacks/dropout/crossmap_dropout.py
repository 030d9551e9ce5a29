"""Crossmap dropout: drop all channels of a pixel together.

Paper:    Biased Dropout and Crossmap Dropout: Learning towards effective Dropout regularization in convolutional neural
          network (Poernomo, Kang; Neural Networks 104, 2018) https://doi.org/10.1016/j.neunet.2018.03.016
Code:     none by the authors known to us
Equation: y_cij = m_ij x_cij / (1 - p),  m_ij ~ Bernoulli(1 - p)
Shapes:   maps (N, C, H, W), or tokens (N, L, D): whole tokens -> same
Defaults: p = .1, at every stage: ours
Differs:  written from the abstract; the stages are ours. A class token counts as a token
"""

from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import draws, scale_by_rate
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where


class CrossmapDropout(FeatureDropout):
    """Drop pixels at every stage, or in the modules of `where`.

    Args:
        p: probability to be dropped, in (0, 1), or a `Schedule`.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    examples = ({"p": 0.2, "where": ("stage2",), "participation": 0.5},)
    acts_on = (3, 4)

    def __init__(self, p: Rate = 0.1, where: Where = None, participation: Rate = 1.0):
        super().__init__(p, where, participation)

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        shape = (*x.shape[:2], 1) if x.ndim == 3 else (x.shape[0], 1, *x.shape[2:])
        return pixels(draws(x, *shape), p)


def pixels(u: Tensor, p: float) -> Tensor:
    """Return the multipliers of pixels: 0 where u >= 1 - p, elsewhere 1 / (1 - p)."""
    return scale_by_rate(u < 1 - p, p)
