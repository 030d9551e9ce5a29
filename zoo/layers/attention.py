"""Scaled dot-product attention over several heads.

Paper:    Attention Is All You Need (Vaswani et al.; NeurIPS 2017) https://arxiv.org/abs/1706.03762, section 3.2
"""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute softmax(Q K^T / sqrt(d) + mask) V.

    Args:
        q, k, v: (N, H, L, d).
        mask: added to the scores; broadcasts to (N, H, L, L). None: nothing is added.

    Returns:
        The weighted means of the values (N, H, L, d), and the attention map (N, H, L, L), whose rows sum to 1.
    """
    scores = q @ k.transpose(-2, -1) / sqrt(q.shape[-1])
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return weights @ v, weights


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the means of `attention`, without the map, by torch's kernel.

    In bfloat16 on a CPU the equation is used instead: it takes a third of the kernel's time there.
    """
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        return attention(q, k, v, mask)[0]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class MultiHeadAttention(nn.Module):
    """The projections around attention: what every kind of self-attention here shares. It has no `forward`.

    `heads_out` is an identity on the heads' outputs (N, H, L, d), where tricks may place a hook (DropHead).
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.heads_out = nn.Identity()
        self.proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return Q, K and V of every head: (N, L, D) -> three of (N, H, L, d)."""
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        return q, k, v

    def merge(self, y: Tensor) -> Tensor:
        """Concatenate the heads and project them: (N, H, L, d) -> (N, L, D)."""
        return self.proj(self.heads_out(y).transpose(1, 2).flatten(2))


class Attention(MultiHeadAttention):
    """Multi-head self-attention. Shapes: (N, L, D) -> (N, L, D).

    Attributes:
        fused: use torch's kernel, which is faster and gives no attention map; else the equation as written.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True):
        super().__init__(width, heads, qkv_bias)
        self.fused = True

    def map(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attention map: how much each token (row) looks at each other one, (N, H, L, L)."""
        return attention(*self.split(x), mask)[1]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.split(x)
        return self.merge(fused_attention(q, k, v, mask) if self.fused else attention(q, k, v, mask)[0])
