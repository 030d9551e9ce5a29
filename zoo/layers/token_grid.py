"""Tokens on a grid, carried to another grid: each cell is repeated 2 x 2, then averaged over the new cells.

Paper:    Dynamic Transformers for Efficient Image Recognition (Wang, Huang, Song, Huang, Huang; NeurIPS 2021)
          https://arxiv.org/abs/2105.15075, section 3.1
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def upsample(x: Tensor, grid: int) -> Tensor:
    """Resample rows of a class token, which stays, and a map: (N, C, 1 + g^2) -> (N, C, 1 + grid^2)."""
    cells = x[..., 1:].unflatten(-1, [math.isqrt(x.shape[-1] - 1)] * 2)
    cells = F.adaptive_avg_pool2d(F.interpolate(cells, scale_factor=2.0), grid)
    return torch.cat([x[..., :1], cells.flatten(2)], -1)


def upsample_features(x: Tensor, grid: int) -> Tensor:
    """Resample the features of tokens, with 0 for the class token: (N, 1 + g^2, D) -> (N, 1 + grid^2, D)."""
    return upsample(F.pad(x[:, 1:], (0, 0, 1, 0)).mT, grid).mT


def upsample_relations(x: Tensor, grid: int) -> Tensor:
    """Resample scores over columns, then rows: (N, C, 1 + g^2, 1 + g^2) -> (N, C, 1 + grid^2, 1 + grid^2)."""
    c = x.shape[1]
    for _ in range(2):
        x = upsample(x.flatten(1, 2), grid).unflatten(1, (c, -1)).mT
    return x
