"""Attention that no token pays to a dropped token, except the dropped token itself.

Paper:    DynamicViT (Rao, Zhao, Liu, Lu, Zhou, Hsieh; NeurIPS 2021) https://arxiv.org/abs/2106.02034, equations 9 to 11
"""

from math import sqrt

import torch
from torch import Tensor

from zoo.layers.attention import Attention

CLAMP = 10.0  # a dropped token's score may exceed the best kept one by this much; its gradient is bounded


def masked_attention(q: Tensor, k: Tensor, v: Tensor, kept: Tensor) -> Tensor:
    """Compute A V with A_ij = exp(P_ij) G_ij / sum_k exp(P_ik) G_ik,  G_ij = kept_j, G_ii = 1,  P = Q K^T / sqrt(d).

    Exact for decisions of 0 and 1. Differentiable in them: a dropped token's gradient says what keeping it would
    change. The softmax is computed in float32.

    Args:
        q, k, v: (N, H, L, d).
        kept: (N, L), in [0, 1].

    Returns:
        The values' means (N, H, L, d).
    """
    scores = (q @ k.transpose(-2, -1) / sqrt(q.shape[-1])).float()
    G = kept.float()[:, None, None, :]
    G = G + (1 - G) * torch.eye(q.shape[2], device=q.device)
    best = scores.detach().masked_fill(G == 0, -torch.inf).amax(-1, keepdim=True)
    weights = (scores - best).clamp(max=CLAMP).exp() * G
    return (weights / weights.sum(-1, keepdim=True)).to(v.dtype) @ v


class MaskedAttention(Attention):
    """Self-attention; with decisions `kept`, masked attention. Shapes: (N, L, D), (N, L) -> (N, L, D)."""

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        if kept is None:
            return super().forward(x)
        return self.merge(masked_attention(*self.split(x), kept))
