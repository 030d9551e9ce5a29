"""ProbDropBlock: drop squares of a map, more of them where activations are large.

Paper:    Revisiting Structured Dropout (Zhao, Dada, Gao, Mullins; ACML 2023) https://arxiv.org/abs/2210.02570
Code:     none by the authors known to us
Equation: gamma_ij = min(1, p / a |x_ij| / mean |x|), the mean over the map;  y = x M numel(M) / sum(M),  M zero in
          every b x b square whose centre is drawn with probability gamma_ij;  a its mean area, cut at the map's edges
Shapes:   maps (N, C, H, W) -> same
Defaults: those of `DropBlock`: block_size = 7, p = Linear(0, .1), in the last two stages, a quarter of p in the first
          of them; shared = False, a mask for each channel
Differs:  the paper's rate of a centre is alpha |x| ||x||_0 / ||x||_1. Here alpha is p / a, so that about p is dropped,
          as in `DropBlock`, on maps of any size, and zeros count among the pixels. Squares overlap where a map is
          strong: a little less than p is dropped.
"""

from torch import Tensor

from callbacks.dropout.drop_block import DropBlock, block_mask
from callbacks.frame.masks import draws, scale_by_count


def centre_rates(x: Tensor, alpha: float) -> Tensor:
    """Return each pixel's probability to be a square's centre, alpha on average and at most 1: (N, C, H, W) -> same."""
    size = x.abs()
    return (alpha * size / size.mean((2, 3), keepdim=True).clamp_min(1e-12)).clamp_max(1)


def squares(centres: Tensor, block: tuple[int, int]) -> Tensor:
    """Return 0 in the squares around the centres and 1 elsewhere; an even side has one cell more before its centre.

    Args:
        centres: 1 or 0, (N, C, H, W).
        block: height and width of the squares.

    Returns:
        (N, C, H, W).
    """
    (h, w), (bh, bw) = centres.shape[2:], block
    top, left = bh // 2, bw // 2
    return block_mask(centres, block)[:, :, top : top + h, left : left + w]


def mean_length(side: int, block: int) -> float:
    """Return the mean length of a block inside a row of `side` cells, over all cells as its centre."""
    first = range(-(block // 2), side - block // 2)
    return sum(min(i + block, side) - max(i, 0) for i in first) / side


class ProbDropBlock(DropBlock):
    """Drop squares where features are strong, in the last two stages or in the modules of `where`.

    Args:
        p: fraction of a map to be dropped, in (0, 1), or a `Schedule`.
        block_size: side of the squares, in cells of the map.
        shared: one mask for all channels of an example, from their mean magnitude.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `DropBlock`.
    """

    examples = ({"p": 0.2, "block_size": 2, "shared": True, "where": ("stage1",), "participation": 0.5},)

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        size = x.float().abs()
        size = size.mean(1, keepdim=True) if self.shared else size
        h, w = x.shape[2:]
        bh, bw = block = min(self.block_size, h), min(self.block_size, w)
        area = mean_length(h, bh) * mean_length(w, bw)
        return scale_by_count(squares(draws(x, *size.shape) < centre_rates(size, p / area), block))
