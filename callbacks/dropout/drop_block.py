"""DropBlock: drop squares of a map, because single pixels can be guessed from their neighbours.

Paper:    DropBlock: A regularization method for convolutional networks (Ghiasi, Lin, Le; NeurIPS 2018)
          https://arxiv.org/abs/1810.12890, algorithm 1
Code:     torchvision `ops.DropBlock2d` does the same; https://github.com/tensorflow/tpu (the authors'). timm 1.0 draws
          corners on the whole map, at the rate for blocks that fit: of a 7 x 7 map, at p = .1 with blocks of 7, it
          keeps .07 instead of .9
Equation: y = x M numel(M) / sum(M),  M zero in every b x b square whose corner is drawn, of those that fit, with
          probability gamma = p / b^2  H W / ((H - b + 1) (W - b + 1))
Shapes:   maps (N, C, H, W) -> same
Defaults: block_size = 7, p = Linear(0, .1), in the last two stages, a quarter of p in the first of them, shared =
          False, a mask for each channel: all the authors' code
Differs:  blocks overlap, so that a little less than p is dropped, as in the paper. On a map smaller than the block,
          the block is the map. The paper drops after each convolution and shortcut, this after each stage.
          On the input (`where="input"`), it drops many squares inside the image; `Cutout` drops one, clipped at the
          border, without scale.
"""

import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import draws, scale_by_count
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Linear, Rate
from callbacks.frame.where import Where

DEFAULT = Linear(0, 0.1)


def gamma(p: float, size: tuple[int, int], block: tuple[int, int]) -> float:
    """Return the probability that a corner is drawn, on maps of H x W.

    Args:
        p: fraction of a map to be dropped.
        size: H and W.
        block: height and width of the blocks.
    """
    (h, w), (bh, bw) = size, block
    return min(1.0, p / (bh * bw) * h * w / ((h - bh + 1) * (w - bw + 1)))


def block_mask(corners: Tensor, block: tuple[int, int]) -> Tensor:
    """Return 0 in the blocks and 1 elsewhere, (N, C, H, W).

    Args:
        corners: top left corners of the blocks, 1 or 0, (N, C, H - b + 1, W - b + 1).
        block: height and width of the blocks.
    """
    bh, bw = block
    holes = F.pad(corners.bool(), (0, bw - 1, 0, bh - 1))  # every block fits: none runs into the next row or map
    flat = _grow(_grow(holes.flatten(), bw, 1), bh, holes.shape[3])
    return (~flat.view(holes.shape)).float()


def _grow(x: Tensor, n: int, stride: int) -> Tensor:
    """Return y_i = any of x_i, x_(i - stride), ..., x_(i - (n - 1) stride), (L,). The reach doubles: log2(n) passes."""
    have = 1
    while have < n:
        step = min(have, n - have)
        x = x | F.pad(x[: -step * stride], (step * stride, 0))
        have += step
    return x


class DropBlock(FeatureDropout):
    """Drop squares in the last two stages, or in the modules of `where`.

    Args:
        p: fraction of a map to be dropped, in (0, 1), or a `Schedule`.
        block_size: side of the squares, in cells of the map.
        shared: one mask for all channels of an example: faster, and a little weaker.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`; for a block size below 1.
    """

    needs = (Range("block_size", 1),)
    examples = ({"p": 0.2, "block_size": 2, "shared": True, "where": ("stage1",), "participation": 0.5},)
    default_stages = slice(-2, None)

    def __init__(
        self,
        p: Rate = DEFAULT,
        block_size: int = 7,
        shared: bool = False,
        where: Where = None,
        participation: Rate = 1.0,
    ):
        super().__init__(p, where, participation)
        self.block_size, self.shared = block_size, shared

    def factors(self, count: int) -> list[float]:
        return [0.25] * (count - 1) + [1.0] if self.where is None else super().factors(count)

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        n, c, h, w = x.shape
        bh, bw = block = min(self.block_size, h), min(self.block_size, w)
        u = draws(x, n, 1 if self.shared else c, h - bh + 1, w - bw + 1)
        return scale_by_count(block_mask(u < gamma(p, (h, w), block), block))
