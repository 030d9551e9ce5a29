"""CorrDrop: drop units that differ from the others more often than units that agree with them.

Paper:    Correlation-based structural dropout for convolutional neural networks (Zeng, Dai, Lu, Zhang, Xia; Pattern
          Recognition 120, 2021), https://doi.org/10.1016/j.patcog.2021.108117, equations 1 to 14
Code:     https://github.com/Sandy-Zeng/CorrDrop at 7951a3a (the authors')
Equation: F_i = mean_j |cos(a_i, a_j) - [i = j]|,  M_i ~ Bernoulli(softmax(F / T)_i),  B_i ~ Bernoulli(1 - p^),
          p^ = p n / (n - sum M);  unit i of n is dropped if M_i = B_i = 0;  the others times n / (number kept).
          "spatial": units are cells of k x k pixels, by their mean;  "channel": units are channels
Shapes:   maps (N, C, H, W) -> same;  for each example its own units
Defaults: p = .2, kind = "spatial", block_size = 5 (the authors' README); in the last two stages: ours; temperature = 1
          (T, the paper's)
Differs:  at T = 1 the softmax over n units is almost flat: of 64 units the most and the least correlated differ by 1 %
          in this probability. T is ours: below .1 correlation matters. p^ and the scale are those of each example;
          the code takes those of the batch. Cells at an edge are cut there (the code pads both sides), and a map of one
          cell stays. In the code p rises over 200 calls: `Linear(0, .2, until="200st")`. Its channel form does not
          train: it passes a pair to a batch norm.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import draws
from callbacks.frame.needs import Choice, Range
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where

Kind = Literal["spatial", "channel"]


def correlation(a: Tensor) -> Tensor:
    """Return F of units (N, n, D): the sum of |cosine| with the other units, divided by n, (N, n)."""
    unit = F.normalize(a, dim=2, eps=1e-8)
    cosines = unit @ unit.mT
    own = cosines.diagonal(dim1=1, dim2=2)  # 1, and 0 for a unit of zeros
    return (torch.linalg.vector_norm(cosines, 1, 2) - own + (own - 1).abs()) / a.shape[1]


def unit_mask(f: Tensor, u_m: Tensor, u_b: Tensor, p: float, temperature: float = 1.0) -> Tensor:
    """Return the mask of the equation: 0 for dropped units, else 1.

    Args:
        f: F, (N, n).
        u_m: uniform draws in [0, 1) for M, (N, n).
        u_b: uniform draws in [0, 1) for B, (N, n).
        p: fraction of the units to be dropped.
        temperature: T.
    """
    m = u_m < (f / temperature).softmax(1)
    rate = p * f.shape[1] / (f.shape[1] - m.sum(1, keepdim=True)).clamp_min(1)
    return (m | (u_b < 1 - rate)).float()


def spread(small: Tensor, k: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Repeat each cell's number over its pixels: (N, 1, H', W') -> (N, 1, H, W)."""
    return small.repeat_interleave(k[0], 2).repeat_interleave(k[1], 3)[:, :, : size[0], : size[1]]


class CorrDrop(FeatureDropout):
    """Drop cells or channels by their correlation, in the last two stages or in the modules of `where`.

    Args:
        p: fraction of the units, in (0, 1), or a `Schedule`.
        kind: what is dropped: "spatial" or "channel".
        block_size: side of a cell in pixels; at most that of the map.
        temperature: T of the equation, > 0; the smaller, the more correlation matters.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`; for a block size below 1.
    """

    needs = (Range("temperature", 0, open_low=True), Choice("kind", get_args(Kind)), Range("block_size", 1))
    examples = (
        {"p": 0.3, "kind": "channel", "block_size": 2, "temperature": 0.1, "where": ("stage2",), "participation": 0.5},
    )
    default_stages = slice(-2, None)

    def __init__(
        self,
        p: Rate = 0.2,
        kind: Kind = "spatial",
        block_size: int = 5,
        temperature: float = 1.0,
        where: Where = None,
        participation: Rate = 1.0,
    ):
        super().__init__(p, where, participation)
        self.kind = kind
        self.block_size, self.temperature = block_size, temperature

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        x = x.float()
        kept = self._cells(x, p) if self.kind == "spatial" else self._units(x.flatten(2), p)[:, :, None, None]
        return kept / kept.mean((1, 2, 3), keepdim=True).clamp_min(1e-12)

    def _cells(self, x: Tensor, p: float) -> Tensor:
        h, w = size = x.shape[2], x.shape[3]
        kh, kw = k = min(self.block_size, h), min(self.block_size, w)
        cells = F.avg_pool2d(x, k, ceil_mode=True, count_include_pad=False)
        rows, columns = cells.shape[2:]
        p = p * h * w / (kh * kw * rows * columns)  # equation 10: cells that are cut count as whole ones
        kept = self._units(cells.flatten(2).mT, p)
        return spread(kept.view(-1, 1, rows, columns), k, size)

    def _units(self, a: Tensor, p: float) -> Tensor:
        u_m, u_b = draws(a, *a.shape[:2]), draws(a, *a.shape[:2])
        return unit_mask(correlation(a), u_m, u_b, p, self.temperature)
