"""Weighted channel dropout: keep channels at random, with higher probability if their activations are larger.

Paper:    Weighted Channel Dropout for Regularization of Deep Convolutional Neural Network (Hou, Wang; AAAI 2019)
          https://doi.org/10.1609/aaai.v33i01.33018425
Code:     none by the authors known to us
Equation: s_c = mean of x_c over the map;  the (1 - p) C channels of the largest r_c^(1 / s_c), r_c ~ U(0, 1), are
          drawn, of which each stays with probability q;  y_c = alpha x_c where it stays, else 0;
          alpha = sum s / sum s drawn
Shapes:   maps (N, C, H, W) -> same;  for each example its own channels
Defaults: p = .2, q = .9, in the last two stages: ours; rescale = "score", a port's
Differs:  alpha is that of one port; another port has none, `rescale="none"`. A channel of mean 0 or below counts as
          1e-12: the method is for maps after a ReLU.
"""

from typing import Literal, get_args

from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import draws, largest_mask
from callbacks.frame.needs import Choice, Range
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where

Rescale = Literal["score", "inverse", "none"]


def channel_scales(scores: Tensor, r: Tensor, u: Tensor, m: float, q: float, rescale: Rescale = "score") -> Tensor:
    """Return what each channel is multiplied by, (N, C).

    Args:
        scores: (N, C), > 0.
        r: (N, C), uniform draws in [0, 1) for the weighted drawing.
        u: (N, C), uniform draws in [0, 1) for q.
        m: how many channels are drawn, rounded down, at least one.
        q: probability that a drawn channel stays.
        rescale: "score": the alpha of the equation; "inverse": 1 / q; "none".
    """
    drawn = largest_mask(r.log() / scores, m, 1).float()  # the order of r^(1/s), without its underflow
    kept = drawn * (u < q)
    if rescale == "score":
        return kept * (scores.sum(1, keepdim=True) / (scores * drawn).sum(1, keepdim=True))
    return kept / q if rescale == "inverse" else kept


class WeightedChannelDropout(FeatureDropout):
    """Drop channels in the last two stages, or in the modules of `where`.

    Args:
        p: fraction of the channels that is not drawn, in (0, 1), or a `Schedule`; at least one is drawn.
        q: probability that a drawn channel stays, in (0, 1].
        rescale: "score", "inverse" or "none", see `channel_scales`.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    needs = (Range("q", 0, 1, open_low=True), Choice("rescale", get_args(Rescale)))
    examples = ({"p": 0.5, "q": 1.0, "rescale": "inverse", "where": ("stage1",), "participation": 0.5},)
    default_stages = slice(-2, None)

    def __init__(
        self, p: Rate = 0.2, q: float = 0.9, rescale: Rescale = "score", where: Where = None, participation: Rate = 1.0
    ):
        super().__init__(p, where, participation)
        self.q, self.rescale = q, rescale

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        n, c = x.shape[:2]
        scores = x.float().mean((2, 3)).clamp_min(1e-12)
        scales = channel_scales(scores, draws(x, n, c), draws(x, n, c), c * (1 - p), self.q, self.rescale)
        return scales[:, :, None, None]
