"""FocusedDropout: keep only the pixels at which the channel with the largest mean is large.

Paper:    FocusedDropout for Convolutional Neural Network (Xie, Liu, Zhang, Jiang; 2021)
          https://arxiv.org/abs/2103.15425, equations 1 to 5
Code:     https://github.com/yuranusduke/FocusedDropoutCNN at 0cee077 (unofficial)
Equation: y = x m,  m_ij = 1 where c_ij > gamma max c, else 0;  c the channel of the largest mean,  gamma ~ U(low, high)
          for each image;  at a fraction of the batches, with a larger weight decay there
Shapes:   maps (N, C, H, W) -> same;  one mask for all channels of an image
Defaults: low = .3, high = .6 (the text and experiments; algorithm 1 has .6 to .9), participation = .1, after the
          penultimate stage; no scale: all the paper's
Differs:  weight decay is a trick of its own: list `MagnifiedWeightDecay(probability=.1)` beside it, which acts at the
          same steps. If no pixel is above 0, all are kept.
"""

from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import draws
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where


def focus(x: Tensor, gamma: Tensor) -> Tensor:
    """Return the mask (N, 1, H, W) of maps (N, C, H, W). `gamma` (N,): pixels above this fraction of the peak stay."""
    strongest = x.mean((2, 3)).argmax(1)
    c = x.take_along_dim(strongest[:, None, None, None], 1)
    peak = c.amax((2, 3), keepdim=True)
    return ((c > gamma[:, None, None, None] * peak) | (peak <= 0)).float()


class FocusedDropout(FeatureDropout):
    """Keep the pixels in focus, after the penultimate stage or in the modules of `where`.

    Args:
        low: lower end of the interval from which gamma is drawn for each image, in (0, 1).
        high: upper end, in (0, 1).
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`; for low > high.
    """

    needs = (Range("high", 0, 1, open_low=True, open_high=True), Range("low", 0, "high", open_low=True))
    examples = ({"low": 0.2, "high": 0.9, "where": ("stage2",), "participation": 1.0},)
    default_stages = slice(-2, -1)

    def __init__(self, low: float = 0.3, high: float = 0.6, where: Where = None, participation: Rate = 0.1):
        super().__init__(0.5, where, participation)  # not used: gamma decides what is dropped
        self.low, self.high = low, high

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        return focus(x.float(), self.low + (self.high - self.low) * draws(x, x.shape[0]))
