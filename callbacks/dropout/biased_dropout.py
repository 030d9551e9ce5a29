"""Biased dropout: the weaker half of the features goes more often than the stronger one.

Paper:    Biased Dropout and Crossmap Dropout: Learning towards effective Dropout regularization in convolutional neural
          network (Poernomo, Kang; Neural Networks 104, 2018) https://doi.org/10.1016/j.neunet.2018.03.016
Code:     none by the authors known to us
Equation: y_i = m_i x_i / (1 - p_i),  m_i ~ Bernoulli(1 - p_i);  p_i = p - d for the half of largest |x_i| of an
          example, p + d for the other
Shapes:   any -> same
Defaults: p = .5, d = .2, before the classifier: ours
Differs:  written after the abstract: the paper's rates and groups are unknown to us. Of an example of 8,192 or more
          features, as maps have, the halves are told apart by the median of 4,096 or more of them, evenly spaced
"""

import torch
from torch import Tensor

from callbacks.frame.feature_dropout import ANY, FeatureDropout, Where, draws
from callbacks.frame.schedule import Rate, rate_values


def stronger(x: Tensor, looked_at: int = 4096) -> Tensor:
    """Whether each is of the larger half of its row's magnitudes (N, D), of an odd number the middle too.

    Of equal ones the first. In rows of at least twice `looked_at` numbers the halves are equal but for the error of a
    median of so many: to sort them all would take longer than what the network does with them.
    """
    size = x.abs()
    some = size[:, :: max(1, x.shape[1] // looked_at)]
    middle = some.topk((some.shape[1] + 1) // 2, dim=1, sorted=False).values.amin(1, keepdim=True)
    above, there = size > middle, size == middle
    room = (x.shape[1] + 1) // 2 - above.sum(1, keepdim=True)
    return above | (there & (there.cumsum(1, dtype=torch.int32) <= room))


def rates(x: Tensor, p: float, d: float) -> Tensor:
    """p - d for the `stronger` half of each row (N, D), p + d for the other."""
    return p + d * (1 - 2 * stronger(x).to(x.dtype))


class BiasedDropout(FeatureDropout):
    """Drops single features, weak ones more often, before the classifier or where you say.

    Args:
        p: mean probability to be dropped, in (0, 1), or a `Schedule`.
        d: by how much the halves differ from it; p - d and p + d must be in [0, 1).
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    acts_on = ANY

    def __init__(self, p: Rate = 0.5, d: float = 0.2, where: Where = "classifier", participation: Rate = 1.0):
        super().__init__(p, where, participation)
        if d < 0 or any(value and not (value - d >= 0 and value + d < 1) for value in rate_values(p)):
            raise ValueError(f"BiasedDropout: p - d and p + d must be in [0, 1), got p={p} and d={d}")
        self.d = d

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        d = torch.zeros((), device=x.device) + p  # a schedule may begin below d
        p = rates(x.float().flatten(1), p, d.clamp_max(self.d)).view(x.shape)
        return (draws(x, *x.shape) < 1 - p) / (1 - p)
