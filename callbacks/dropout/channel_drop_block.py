"""Channel DropBlock: drop a channel together with the channels most like it.

Paper:    Channel DropBlock: An Improved Regularization Method for Fine-Grained Visual Classification (Ding, Dong, Tong,
          Ma, Xiao, Wang; BMVC 2021) https://arxiv.org/abs/2106.03432, algorithm 1, equations 1 to 3
Code:     https://github.com/PRIS-CV/DropChannelBlock_Pytorch_master at 2ffe7ff (the authors')
Equation: y_c = 0 for the p C channels most like a channel drawn at random, itself included; x_c / (1 - p) elsewhere.
          "peak": the nearest maxima of the maps after a 3 x 3 mean;  "cosine": the largest cosines of the maps
          centre = "strongest": with probability 1/2, one draw for a batch, the channel is that of the largest mean a_c,
          else y_c = x_c sigmoid(a_c)
Shapes:   maps (N, C, H, W) -> same;  for each example its own channels
Defaults: p = .2, metric = "peak", centre = "random", after the second stage: the authors' code; for "cosine" it has
          .05, to be given here
Differs:  exactly p C channels are dropped, at least one; ties go to the first. The code also drops all channels that
          tie with the last one: many, if peaks lie on few pixels. Similarities are computed for the drawn channel
          alone. A map of zeros has cosine 0 with all. "strongest" is the attention form of section 3.1, which the
          authors tried first and found to gain little; they give no equation and no code: its details are ours, after
          ADL.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import largest_mask
from callbacks.frame.needs import Choice
from callbacks.frame.schedule import Linear, Rate
from callbacks.frame.where import Where

Metric = Literal["peak", "cosine"]
Centre = Literal["random", "strongest"]


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
        centre: the channel with which its like are dropped: a "random" one, or the "strongest", which is emphasised at
            half of the steps instead.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    needs = (Choice("metric", get_args(Metric)), Choice("centre", get_args(Centre)))
    examples = (
        {"p": Linear(0, 0.3), "metric": "cosine", "where": ("stage1",), "participation": 0.5},
        {"centre": "strongest"},
    )
    default_stages = slice(1, 2)

    draws_once = True

    def __init__(
        self,
        p: Rate = 0.2,
        metric: Metric = "peak",
        where: Where = None,
        participation: Rate = 1.0,
        centre: Centre = "random",
    ):
        super().__init__(p, where, participation)
        self.metric, self.centre = metric, centre

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        n, c = x.shape[:2]
        a = x.float().mean((2, 3))
        row = a.argmax(1) if self.centre == "strongest" else torch.randint(c, (n,), device=x.device)
        scale = channel_mask(nearness(x.float(), row, self.metric), p * c) / (1 - p)
        if self.centre == "strongest":
            scale = torch.where(self.shared_draws(x) < 0.5, scale, a.sigmoid())
        return scale[:, :, None, None]
