"""HeuristicDropout: replace channels that vary in value but not in space by their edges.

Paper:    Heuristic Dropout: An Efficient Regularization Method for Medical Image Segmentation Models (Shi, Liu, Tao,
          Yuan; ICASSP 2022) https://doi.org/10.1109/ICASSP43922.2022.9747409
Code:     https://github.com/sdc17/HeuristicDropout at 14d49e2 (the authors')
Equation: m_c = e_c + k / (v_c + 1e-7);  v the variance of x_c over the map;  e the entropy of round(10 tanh x_c), of
          its values from 0 to 10;  the round(p C) channels of the largest m are replaced by L x_c, or by 0;  L the
          3 x 3 Laplace filter, 8 in the middle and -1 around, on a map padded by 0
Shapes:   maps (N, C, H, W) -> same;  for each example its own channels
Defaults: p = .1, k = 2, laplace = True (the authors' code); at every stage: ours
Differs:  nothing is random, as in the paper. A channel without values >= 0 has entropy 0 (the code: NaN). A map of
          one pixel has variance 0. The paper acts between the two convolutions of every U-Net stage, this after a
          stage.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import float32, round_half_even
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where

BINS = 10


def entropy(x: Tensor) -> Tensor:
    """Return the entropy of each map's quantised values, in nats: (N, C, ...) -> (N, C)."""
    index = (BINS * x.flatten(2).tanh()).round_().clamp_min_(-1).add_(1).long()
    count = x.new_zeros(*x.shape[:2], BINS + 2).scatter_add_(2, index, x.new_ones(()).expand(index.shape))
    from_zero = count[:, :, 1:]
    p = from_zero / from_zero.sum(2, keepdim=True).clamp_min(1)
    return -torch.xlogy(p, p).sum(2)


def metric(x: Tensor, k: float) -> Tensor:
    """Return m of the equation: (N, C, H, W) -> (N, C)."""
    x = x.flatten(2)
    # `torch.var` takes ten times as long
    variance = (x - x.mean(2, keepdim=True)).square().sum(2) / max(1, x.shape[2] - 1)
    return entropy(x) + k / (variance + 1e-7)


def edges(x: Tensor) -> Tensor:
    """Apply the Laplace filter, (N, C, H, W) -> same: nine times each pixel minus nine times the mean around it."""
    return 9 * (x - F.avg_pool2d(x, 3, 1, 1))


class HeuristicDropout(FeatureDropout):
    """Replace channels at every stage, or in the modules of `where`.

    Args:
        p: fraction of the channels, in (0, 1), or a `Schedule`.
        k: weight of the inverse variance, >= 0.
        laplace: replace a channel by its edges, else by zeros.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    needs = (Range("k", 0),)
    examples = ({"p": 0.3, "k": 1.0, "laplace": False, "where": ("stage2",), "participation": 0.5},)

    def __init__(
        self, p: Rate = 0.1, k: float = 2.0, laplace: bool = True, where: Where = None, participation: Rate = 1.0
    ):
        super().__init__(p, where, participation)
        self.k, self.laplace = k, laplace

    def drop(self, x: Tensor, p: float) -> Tensor:
        count = p * x.shape[1]
        # in compiled networks, filter all channels: otherwise each number of channels would compile another graph
        most = x.shape[1] if torch.compiler.is_compiling() else max(1, round(count))
        with torch.no_grad(), float32(x):
            order = metric(x.float(), self.k).sort(dim=1, descending=True, stable=True).indices[:, :most]
            goes = (torch.arange(most, device=x.device) < round_half_even(count, x))[:, None, None]
        at = torch.arange(len(x), device=x.device)[:, None], order
        channels = x[at]
        other = edges(channels) if self.laplace else torch.zeros_like(channels)
        return x.index_put(at, torch.where(goes, other, channels))
