"""ADL: hide the most activated part of the map, or emphasise it.

Paper:    Attention-based Dropout Layer for Weakly Supervised Object Localization (Choe, Shim; CVPR 2019)
          https://arxiv.org/abs/1908.10028, section 3
Code:     https://github.com/junsukchoe/ADL at dab2e78 (the authors')
Equation: a = mean of x over channels;  with probability p, one draw for a batch, y = x [a < theta max a],
          else y = x sigmoid(a)
Shapes:   maps (N, C, H, W) -> same
Defaults: p = .75, theta = .8 (the authors' later code; their first scripts have .9); in the last two stages: ours
Differs:  the layers: the paper acts after three layers that it chose for each of its networks. Where no mean is above
          0, nothing is hidden. No scale, as in the paper.
"""

import torch
from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where


def hiding_mask(a: Tensor, theta: float) -> Tensor:
    """Return 0 where the means over channels (N, 1, H, W) are at least theta of their peak, else 1."""
    peak = a.amax((2, 3), keepdim=True)
    return ((a < theta * peak) | (peak <= 0)).float()


class ADL(FeatureDropout):
    """Hide or emphasise the most activated part, in the last two stages or in the modules of `where`.

    Args:
        p: probability that it is hidden, in (0, 1), or a `Schedule`.
        theta: pixels at or above this fraction of the peak are hidden, in (0, 1].
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    needs = (Range("theta", 0, 1, open_low=True),)
    examples = ({"p": 0.5, "theta": 0.9, "where": ("stage2",), "participation": 0.5},)
    default_stages = slice(-2, None)
    draws_once = True

    def __init__(self, p: Rate = 0.75, theta: float = 0.8, where: Where = None, participation: Rate = 1.0):
        super().__init__(p, where, participation)
        self.theta = theta

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        a = x.float().mean(1, keepdim=True)
        return torch.where(self.shared_draws(x) < p, hiding_mask(a, self.theta), a.sigmoid())
