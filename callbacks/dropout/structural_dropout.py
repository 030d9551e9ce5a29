"""Structural dropout: all features from a random one on are zero, so that the first ones carry the most.

Paper:    Structural Dropout for Model Width Compression (Knodt; 2022) https://arxiv.org/abs/2205.06906
Code:     https://github.com/JulianKnodt/structural_dropout at f16c8a7 (the author's); its later versions always cut
Equation: with probability p a width c is drawn evenly from low, low + step, ... below D, else c = D;
          y_i = x_i D / c for i < c, else 0;  one draw for a batch
Shapes:   vectors (N, D), tokens (N, L, D), or maps (N, C, H, W) by channel -> same
Defaults: p = .5, low = 1, step = 1, before the classifier: ours
Differs:  zeros instead of shorter tensors, so that every weight has a gradient on every rank. The scale does not keep a
          feature's expectation: the first ones grow. Cutting the network to a width afterwards is not here.
"""

import torch
from torch import Tensor

from callbacks._schedule import Rate
from callbacks.dropout._feature import ANY, FeatureDropout, Where, draws


def prefix(u: Tensor, v: Tensor, p: float, width: int, low: int = 1, step: int = 1) -> Tensor:
    """What each of `width` features is multiplied by, (width,). `u`, `v`: draws in [0, 1), whether and where to cut."""
    choices = len(range(low, width, step))
    cut = low + step * (v * choices).long().clamp_max(choices - 1)
    c = torch.where(u < p, cut, width) if choices else torch.full_like(u, width)
    return (torch.arange(width, device=u.device) < c) * (width / c)


class StructuralDropout(FeatureDropout):
    """Cuts features off behind a random one, before the classifier or where you say.

    Args:
        p: probability that there is a cut, in (0, 1), or a `Schedule`.
        low: the narrowest width.
        step: between two widths.
        where: see `FeatureDropout`.
        share: of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`; for a width or a step below 1.
    """

    acts_on = ANY

    def __init__(self, p: Rate = 0.5, low: int = 1, step: int = 1, where: Where = "classifier", share: Rate = 1.0):
        super().__init__(p, where, share)
        if low < 1 or step < 1:
            raise ValueError(f"StructuralDropout: low and step must be at least 1, got {low} and {step}")
        self.low, self.step = low, step

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        width = x.shape[-1] if x.ndim == 3 else x.shape[1]
        scale = prefix(draws(x), draws(x), p, width, self.low, self.step)
        return scale if x.ndim < 4 else scale[:, None, None]
