"""Spectral dropout: drop weak coefficients of a cosine transform with probability p, and transform back.

Paper:    Regularization of Deep Neural Networks with Spectral Dropout (Khan, Hayat, Porikli; Neural Networks 110, 2019)
          https://arxiv.org/abs/1711.08591
Code:     none by the authors known to us
Equation: c = D x,  c'_k = c_k where |c_k| > tau, else m_k c_k, m_k ~ Bernoulli(1 - p);  y = D^T c';  D the orthonormal
          DCT-II, of the map's rows and columns ("spatial"), of the channels ("channel") or of all three ("all")
Shapes:   maps (N, C, H, W) -> same
Defaults: p = .2, tau = .1 (a port's); dims = "spatial", at every stage: ours
Differs:  the paper can be read in two ways: in the other one, strong coefficients are dropped too. No scale. Evaluation
          is plain: ours.
"""

from math import pi
from typing import Literal, get_args

import torch
from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import draws, float32
from callbacks.frame.needs import Choice, Range
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where

Dims = Literal["spatial", "channel", "all"]
AXES = {"spatial": (2, 3), "channel": (1,), "all": (1, 2, 3)}


def basis(n: int, device: torch.device | None = None) -> Tensor:
    """Return the orthonormal DCT-II, (n, n), one frequency a row."""
    k = torch.arange(n, dtype=torch.float32, device=device)[:, None]
    rows = (pi / n * (k.T + 0.5) * k).cos() * (2 / n) ** 0.5
    return torch.where(k == 0, n**-0.5, rows)


def transform(x: Tensor, dims: Dims, back: bool = False) -> Tensor:
    """Transform x to the basis of cosines along the axes of `dims`, or back: (N, C, H, W) -> same."""
    for axis in AXES[dims]:
        d = basis(x.shape[axis], x.device)
        d = d.mT if back else d
        x = x @ d.mT if axis == 3 else d @ x if axis == 2 else (d @ x.flatten(2)).view(x.shape)
    return x


def dropped_part(x: Tensor, u: Tensor, p: float, tau: float, dims: Dims) -> Tensor:
    """Return the part of x to subtract: its coefficients of magnitude up to tau, where u < p.

    Args:
        x: (N, C, H, W).
        u: uniform draws in [0, 1), one for each coefficient.
        p: probability to be dropped.
        tau: magnitude up to which a coefficient is weak.
        dims: axes of the transform.
    """
    c = transform(x, dims)
    return transform(c * ((c.detach().abs() <= tau) & (u < p)), dims, back=True)


class SpectralDropout(FeatureDropout):
    """Drop coefficients at every stage, or in the modules of `where`.

    Args:
        p: probability that a weak coefficient is dropped, in (0, 1), or a `Schedule`.
        tau: magnitude up to which a coefficient is weak, >= 0.
        dims: what is transformed: "spatial", "channel" or "all".
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    needs = (Range("tau", 0), Choice("dims", get_args(Dims)))
    examples = ({"p": 0.3, "tau": 1.0, "dims": "all", "where": ("stage2",), "participation": 0.5},)

    def __init__(
        self, p: Rate = 0.2, tau: float = 0.1, dims: Dims = "spatial", where: Where = None, participation: Rate = 1.0
    ):
        super().__init__(p, where, participation)
        self.tau, self.dims = tau, dims

    def drop(self, x: Tensor, p: float) -> Tensor:
        with float32(x):
            gone = dropped_part(x.float(), draws(x, *x.shape), p, self.tau, self.dims)
        return x - gone.to(x.dtype)  # the kept part is not rounded
