"""Spectral dropout: of a cosine transform, weak coefficients go with probability p; then it is transformed back.

Paper:    Regularization of Deep Neural Networks with Spectral Dropout (Khan, Hayat, Porikli; Neural Networks 110, 2019)
          https://arxiv.org/abs/1711.08591
Code:     none by the authors known to us
Equation: c = D x,  c'_k = c_k where |c_k| > tau, else m_k c_k, m_k ~ Bernoulli(1 - p);  y = D^T c';  D the orthonormal
          DCT-II, of the map's rows and columns ("spatial"), of the channels ("channel") or of all three ("all")
Shapes:   maps (N, C, H, W) -> same
Defaults: p = .2, tau = .1 (a port's), spatial, at every stage
Differs:  one reading of the paper of two: in the other strong coefficients go too. No scale. Evaluation is plain,
          though the paper may threshold there.
"""

from math import pi
from typing import Literal, get_args

import torch
from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout, Where, draws, float32
from callbacks.frame.schedule import Rate
from callbacks.frame.trick import needs_range
from zoo.frame.checks import validate_choice

Dims = Literal["spatial", "channel", "all"]
AXES = {"spatial": (2, 3), "channel": (1,), "all": (1, 2, 3)}


def basis(n: int, device: torch.device | None = None) -> Tensor:
    """The orthonormal DCT-II, (n, n), a frequency a row."""
    k, i = torch.arange(n, device=device)[:, None], torch.arange(n, device=device)
    rows = (pi / n * (i + 0.5) * k).cos() * (2 / n) ** 0.5
    return torch.where(k == 0, n**-0.5, rows)


def turned(x: Tensor, dims: Dims, back: bool = False) -> Tensor:
    """x in the basis of cosines, or from there back."""
    for axis in AXES[dims]:
        d = basis(x.shape[axis], x.device)
        d = d.mT if back else d
        x = x @ d.mT if axis == 3 else d @ x if axis == 2 else (d @ x.flatten(2)).view(x.shape)
    return x


def lost(x: Tensor, u: Tensor, p: float, tau: float, dims: Dims) -> Tensor:
    """What is taken from x: its coefficients up to tau where u < p. `u`: uniform draws in [0, 1), one a coefficient."""
    c = turned(x, dims)
    return turned(c * ((c.detach().abs() <= tau) & (u < p)), dims, back=True)


class SpectralDropout(FeatureDropout):
    """Drops coefficients at every stage, or where you say.

    Args:
        p: probability that a weak coefficient is dropped, in (0, 1), or a `Schedule`.
        tau: magnitude up to which one is weak, >= 0.
        dims: what is transformed: "spatial", "channel" or "all".
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    def __init__(
        self, p: Rate = 0.2, tau: float = 0.1, dims: Dims = "spatial", where: Where = None, participation: Rate = 1.0
    ):
        super().__init__(p, where, participation)
        needs_range(self, "tau", tau, 0, float("inf"))
        self.tau, self.dims = tau, validate_choice(dims, get_args(Dims), "SpectralDropout")

    def drop(self, x: Tensor, p: float) -> Tensor:
        with float32(x):
            gone = lost(x.float(), draws(x, *x.shape), p, self.tau, self.dims)
        return x - gone.to(x.dtype)  # what stays is not rounded
