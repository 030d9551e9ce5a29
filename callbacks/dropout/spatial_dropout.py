"""Spatial dropout: drop whole channels, because single pixels can be guessed from their neighbours.

Paper:    Efficient Object Localization Using Convolutional Networks (Tompson, Goroshin, Jain, LeCun, Bregler; CVPR
          2015) https://arxiv.org/abs/1411.4280, section 3.2
Code:     torch `nn.Dropout2d`
Equation: y_c = m_c x_c / (1 - p),  m_c ~ Bernoulli(1 - p), for each example and channel
Shapes:   maps (N, C, H, W), tokens (N, L, D): a channel of all tokens, or vectors -> same
Defaults: p = .1, at every stage: ours; the paper drops before 1x1 convolutions of a pose network
Differs:  the layers after which it acts, see Defaults
"""

from torch import Tensor

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.masks import draws, per_channel, scale_by_rate
from callbacks.frame.schedule import Linear, Rate
from callbacks.frame.where import Where


class SpatialDropout(FeatureDropout):
    """Drop channels at every stage, or in the modules of `where`.

    Args:
        p: probability to be dropped, in (0, 1), or a `Schedule`.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    examples = ({"p": Linear(0, 0.2), "where": ("stage1",), "participation": 0.5},)
    acts_on = ANY

    def __init__(self, p: Rate = 0.1, where: Where = None, participation: Rate = 1.0):
        super().__init__(p, where, participation)

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        return scale_by_rate(draws(x, *per_channel(x)) >= p, p)
