"""Biased dropout: drop the weaker half of the features more often than the stronger half.

Paper:    Biased Dropout and Crossmap Dropout: Learning towards effective Dropout regularization in convolutional neural
          network (Poernomo, Kang; Neural Networks 104, 2018) https://doi.org/10.1016/j.neunet.2018.03.016
Code:     none by the authors known to us
Equation: y_i = m_i x_i / (1 - p_i),  m_i ~ Bernoulli(1 - p_i);  p_i = p - d for the half of largest |x_i| of an
          example, p + d for the other
Shapes:   any -> same
Defaults: p = .5, d = .2, where = "classifier": ours
Differs:  written from the abstract; rates and the split into halves are ours. In an example of 8,192 or more features,
          as maps have, the halves are split at the median of at least 4,096 of them, evenly spaced
"""

import torch
from torch import Tensor

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.masks import draws
from callbacks.frame.schedule import Rate, rate_values
from callbacks.frame.where import Where


def is_in_larger_half(x: Tensor, sample: int = 4096) -> Tensor:
    """Return whether each number is in the larger half of its row's magnitudes, median included.

    Of equal numbers, the first ones are in the larger half. In rows of at least twice `sample` numbers, the median of a
    sample splits the halves, because sorting all numbers would take longer than the network.

    Args:
        x: (N, D).
        sample: smallest size of the sample of a row.

    Returns:
        Booleans (N, D).
    """
    size = x.abs()
    some = size[:, :: max(1, x.shape[1] // sample)]
    middle = some.topk((some.shape[1] + 1) // 2, dim=1, sorted=False).values.amin(1, keepdim=True)
    above, there = size > middle, size == middle
    room = (x.shape[1] + 1) // 2 - above.sum(1, keepdim=True)
    return above | (there & (there.cumsum(1, dtype=torch.int32) <= room))


def rates(x: Tensor, p: float, d: Tensor | float) -> Tensor:
    """Return each number's probability to be dropped: p - d for the `stronger` half of each row (N, D), else p + d."""
    return p + d * (1 - 2 * is_in_larger_half(x).to(x.dtype))


class BiasedDropout(FeatureDropout):
    """Drop single features, weak ones more often, before the classifier or in the modules of `where`.

    Args:
        p: mean probability to be dropped, in (0, 1), or a `Schedule`.
        d: half the difference between the halves; p - d and p + d must be in [0, 1).
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    examples = ({"p": 0.4, "d": 0.1, "where": ("stage1",), "participation": 0.5},)
    acts_on = ANY

    def __init__(self, p: Rate = 0.5, d: float = 0.2, where: Where = "classifier", participation: Rate = 1.0):
        super().__init__(p, where, participation)
        if d < 0 or any(value and not (value - d >= 0 and value + d < 1) for value in rate_values(p)):
            raise ValueError(f"BiasedDropout: p - d and p + d must be in [0, 1), got p={p} and d={d}")
        self.d = d

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        d = torch.zeros((), dtype=torch.float32, device=x.device) + p  # a schedule may begin below d
        keep = 1 - rates(x.float().flatten(1), p, d.clamp_max(self.d)).view(x.shape)
        return (draws(x, *x.shape) < keep) / keep
