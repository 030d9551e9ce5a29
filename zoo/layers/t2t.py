"""T2T-ViT's tokens: overlapping patches of patches, with attention in between.

Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet (Yuan et al.; ICCV 2021)
https://arxiv.org/abs/2101.11986, sections 3.1 and 3.2; its attention is that of Rethinking Attention with Performers
(Choromanski et al.; ICLR 2021) https://arxiv.org/abs/2009.14794. Keys of the authors' code.
"""

from math import isqrt, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 64  # channels of the tokens between two splits
FEATURES = 32  # random features that estimate the exponential


class TokensToToken(nn.Module):
    """Three soft splits of strides s, 2 and 2. Shapes: (N, C, S, S) -> (N, L, D), row by row.

    Args:
        split: kernel, stride and padding of the first one, in pixels.
        width: D.
        in_chans: C of the images.
    """

    def __init__(self, split: tuple[int, int, int], width: int, in_chans: int = 3):
        super().__init__()
        self.split = split
        self.attention1 = Performer(in_chans * split[0] ** 2)
        self.attention2 = Performer(9 * WIDTH)
        self.project = nn.Linear(9 * WIDTH, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention1(soft_split(x, *self.split))
        x = self.attention2(soft_split(to_map(x), 3, 2, 1))
        return self.project(soft_split(to_map(x), 3, 2, 1))


def soft_split(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Cut maps into overlapping patches and flatten each: (N, C, H, W) -> (N, L, C kernel^2)."""
    return F.unfold(x, kernel, stride=stride, padding=padding).transpose(1, 2)


def to_map(x: Tensor) -> Tensor:
    """Arrange tokens as a map: (N, L, C) -> (N, C, sqrt L, sqrt L)."""
    return x.transpose(1, 2).unflatten(2, [isqrt(x.shape[1])] * 2)


def soft_grid(image_size: int, split: tuple[int, int, int]) -> int:
    """Return the number of tokens a side after three soft splits."""
    for kernel, stride, padding in (split, (3, 2, 1), (3, 2, 1)):
        image_size = (image_size + 2 * padding - kernel) // stride + 1
    return image_size


class Performer(nn.Module):
    """Attention of one head, linear in the number of tokens; its residual is V. Shapes: (N, L, C) -> (N, L, 64)."""

    w: Tensor

    def __init__(self, c_in: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(c_in)
        self.kqv = nn.Linear(c_in, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.dp = nn.Dropout(0.1)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.Dropout(0.1))
        self.register_buffer("w", sqrt(FEATURES) * nn.init.orthogonal_(torch.empty(FEATURES, WIDTH)))

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = self.kqv(self.norm1(x)).chunk(3, -1)
        device = "cpu" if x.is_meta else x.device.type  # autocast knows no meta device
        with torch.autocast(device, enabled=False):  # exponents in half precision would be inaccurate, or overflow
            y = linear_attention(q.float(), k.float(), v.float(), self.w.float())
        x = v + self.dp(self.proj(y.to(v.dtype)))
        return x + self.mlp(self.norm2(x))


def linear_attention(q: Tensor, k: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Compute y_i = sum_j f(q_i).f(k_j) v_j / sum_j f(q_i).f(k_j),  f(x) = exp(w x - |x|^2 / 2) / sqrt m.

    f(q).f(k) estimates exp(q.k), so y approximates softmax attention without scaling.

    Args:
        q, k, v: (N, L, d).
        w: random directions (m, d).

    Returns:
        (N, L, d).
    """
    q, k = ((x @ w.T - x.square().sum(-1, keepdim=True) / 2).exp() / sqrt(len(w)) for x in (q, k))
    return q @ (k.mT @ v) / (q @ k.sum(1)[..., None] + 1e-8)


def sines(length: int, width: int) -> Tensor:
    """Return the positions of Vaswani et al. 2017, sines and cosines in turn: (length, width)."""
    angles = torch.arange(length, dtype=torch.float64)[:, None]
    angles = angles / 10000 ** (2 * torch.arange(width // 2, dtype=torch.float64) / width)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1).float()
