"""Biased dropout: the weaker half of the features goes more often than the stronger one.

Paper:    Biased Dropout and Crossmap Dropout: Learning towards effective Dropout regularization in convolutional neural
          network (Poernomo, Kang; Neural Networks 104, 2018) https://doi.org/10.1016/j.neunet.2018.03.016
Code:     none by the authors known to us
Equation: y_i = m_i x_i / (1 - p_i),  m_i ~ Bernoulli(1 - p_i);  p_i = p - d for the half of largest |x_i| of an
          example, p + d for the other
Shapes:   any -> same
Defaults: p = .5, d = .2, before the classifier: ours
Differs:  written after the abstract: the paper's rates and groups are unknown to us
"""

import torch
from torch import Tensor

from callbacks._schedule import Rate, rate_values
from callbacks.dropout._feature import ANY, FeatureDropout, Where, draws


def rates(x: Tensor, p: float, d: float) -> Tensor:
    """p - d for the larger half of each row's magnitudes (N, D), of an odd number the middle too; else p + d."""
    order = x.abs().sort(dim=1, descending=True, stable=True).indices
    strong = order[:, : (x.shape[1] + 1) // 2]
    return torch.full_like(x, p + d).scatter(1, strong, p - d)


class BiasedDropout(FeatureDropout):
    """Drops single features, weak ones more often, before the classifier or where you say.

    Args:
        p: mean probability to be dropped, in (0, 1), or a `Schedule`.
        d: by how much the halves differ from it; p - d and p + d must be in [0, 1).
        where: see `FeatureDropout`.
        share: of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    acts_on = ANY

    def __init__(self, p: Rate = 0.5, d: float = 0.2, where: Where = "classifier", share: Rate = 1.0):
        super().__init__(p, where, share)
        if d < 0 or any(value and not (value - d >= 0 and value + d < 1) for value in rate_values(p)):
            raise ValueError(f"BiasedDropout: p - d and p + d must be in [0, 1), got p={p} and d={d}")
        self.d = d

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        p = rates(x.float().flatten(1), p, min(self.d, p)).view(x.shape)  # a schedule may begin below d
        return (draws(x, *x.shape) < 1 - p) / (1 - p)
