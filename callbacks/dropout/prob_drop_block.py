"""ProbDropBlock: squares of a map are zero, more of them where the map answers more.

Paper:    Revisiting Structured Dropout (Zhao, Dada, Gao, Mullins; ACML 2023) https://arxiv.org/abs/2210.02570
Code:     none by the authors known to us
Equation: gamma_ij = min(1, p / a |x_ij| / mean |x|), the mean over the map;  y = x M numel(M) / sum(M),  M zero in
          every b x b square whose centre is drawn with probability gamma_ij;  a its mean area, cut at the map's edges
Shapes:   maps (N, C, H, W) -> same
Defaults: those of `DropBlock`: blocks of 7, p from 0 to .1 in a straight line over the run, in the last two stages, a
          quarter of p in the first of them; masks of their own for each channel
Differs:  not checked against the paper, of which the rate of a centre was at hand, alpha |x| ||x||_0 / ||x||_1: here
          alpha is p / a, so that about p is dropped, as in `DropBlock`, on maps of any size, and zeros count among the
          pixels. Squares overlap where a map is strong: a little less than p is dropped.
"""

from torch import Tensor

from callbacks.dropout.drop_block import DropBlock, block_mask
from callbacks.frame.feature_dropout import draws, scale_by_count


def centre_rates(x: Tensor, alpha: float) -> Tensor:
    """Probability of each pixel of maps (N, C, H, W) to be a square's centre: alpha on average, at most 1."""
    size = x.abs()
    return (alpha * size / size.mean((2, 3), keepdim=True).clamp_min(1e-12)).clamp_max(1)


def squares(centres: Tensor, block: tuple[int, int]) -> Tensor:
    """Centres (N, C, H, W), 1 or 0 -> same, 0 in the squares and 1 elsewhere; of an even side, one more before it."""
    (h, w), (bh, bw) = centres.shape[2:], block
    top, left = bh // 2, bw // 2
    return block_mask(centres, block)[:, :, top : top + h, left : left + w]


def mean_length(side: int, block: int) -> float:
    """Of blocks around each of so many cells in a row, what of them lies in the row."""
    first = range(-(block // 2), side - block // 2)
    return sum(min(i + block, side) - max(i, 0) for i in first) / side


class ProbDropBlock(DropBlock):
    """Drops squares in the last two stages, or where you say; where features are strong.

    Args:
        p: share of a map to be dropped, in (0, 1), or a `Schedule`.
        block_size: side of the squares, in cells of the map.
        shared: one mask for all channels of an example, from their mean magnitude.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `DropBlock`.
    """

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        size = x.float().abs()
        size = size.mean(1, keepdim=True) if self.shared else size
        h, w = x.shape[2:]
        bh, bw = block = min(self.block_size, h), min(self.block_size, w)
        area = mean_length(h, bh) * mean_length(w, bw)
        return scale_by_count(squares(draws(x, *size.shape) < centre_rates(size, p / area), block))
