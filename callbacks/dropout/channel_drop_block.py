"""Channel DropBlock: drop a channel together with the channels most like it.

Paper:    Channel DropBlock: An Improved Regularization Method for Fine-Grained Visual Classification (Ding, Dong, Tong,
          Ma, Xiao, Wang; BMVC 2021) https://arxiv.org/abs/2106.03432, algorithm 1, equations 1 to 3
Code:     https://github.com/PRIS-CV/DropChannelBlock_Pytorch_master at 2ffe7ff (the authors')
Equation: y_c = 0 for the p C channels most like a channel drawn at random, itself included; x_c / (1 - p) elsewhere.
          "peak": the nearest maxima of the maps after a 3 x 3 mean;  "cosine": the largest cosines of the maps
Shapes:   maps (N, C, H, W) -> same;  for each example its own channels
Defaults: p = .2, metric = "peak", after the second stage: the authors' code; for "cosine" it has .05, to be given here
Differs:  exactly p C channels are dropped, at least one; ties go to the first. The code also drops all channels that
          tie with the last one: many, if peaks lie on few pixels. Similarities are computed for the drawn channel
          alone. A map of zeros has cosine 0 with all.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import largest_mask
from callbacks.frame.needs import Choice
from callbacks.frame.places import Where
from callbacks.frame.schedule import Linear, Rate

Metric = Literal["peak", "cosine"]


def nearness(x: Tensor, row: Tensor, metric: Metric) -> Tensor:
    """Return how similar each channel is to a chosen one; larger is more similar.

    Args:
        x: maps (N, C, H, W).
        row: the chosen channel of each example, (N,).
        metric: "peak": minus the squared distance of the peaks; "cosine": the cosine of the maps.

    Returns:
        (N, C).
    """
    pick = row[:, None, None]
    if metric == "cosine":
        unit = F.normalize(x.flatten(2), dim=2, eps=1e-8)
        return (unit @ unit.take_along_dim(pick, 1).mT).squeeze(2)
    peak = F.avg_pool2d(x, 3, 1, 1).flatten(2).argmax(2)
    position = torch.stack([peak // x.shape[3], peak % x.shape[3]], 2)
    return -(position - position.take_along_dim(pick, 1)).square().sum(2)


def channel_mask(like: Tensor, count: float) -> Tensor:
    """Return 0 for the max(floor(count), 1) most similar channels (N, C), ties to the first; 1 for the others."""
    return (~largest_mask(like, count, 1)).float()


class ChannelDropBlock(FeatureDropout):
    """Drop channels that are alike, after the second stage or in the modules of `where`.

    Args:
        p: fraction of the channels, in (0, 1), or a `Schedule`.
        metric: what makes channels alike: "peak" or "cosine".
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    needs = (Choice("metric", get_args(Metric)),)
    examples = ({"p": Linear(0, 0.3), "metric": "cosine", "where": ("stage1",), "participation": 0.5},)
    default_stages = slice(1, 2)

    def __init__(self, p: Rate = 0.2, metric: Metric = "peak", where: Where = None, participation: Rate = 1.0):
        super().__init__(p, where, participation)
        self.metric = metric

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        n, c = x.shape[:2]
        row = torch.randint(c, (n,), device=x.device)
        kept = channel_mask(nearness(x.float(), row, self.metric), p * c)
        return kept[:, :, None, None] / (1 - p)
