"""Attention within square windows, with a bias for each relative position.

Paper:    Swin Transformer (Liu et al.; ICCV 2021) https://arxiv.org/abs/2103.14030, section 3.2
"""

import torch
from torch import Tensor, nn

from zoo.layers.attention import MultiHeadAttention, attention


def window_partition(x: Tensor, m: int) -> Tensor:
    """Cut maps (N, H, W, C) into windows of m x m, row by row: (N HW / m^2, m^2, C)."""
    n, h, w, c = x.shape
    return x.view(n, h // m, m, w // m, m, c).transpose(2, 3).reshape(-1, m * m, c)


def window_reverse(x: Tensor, m: int, side: int) -> Tensor:
    """Put windows back into maps, the inverse of `window_partition`: (N (side/m)^2, m^2, C) -> (N, side, side, C)."""
    cut = x.view(-1, side // m, side // m, m, m, x.shape[-1])
    return cut.transpose(2, 3).reshape(-1, side, side, x.shape[-1])


def relative_index(m: int) -> Tensor:
    """Return the table's row for each pair of cells of a window, (dy + m - 1)(2m - 1) + (dx + m - 1): (m^2, m^2)."""
    y, x = torch.arange(m).repeat_interleave(m), torch.arange(m).repeat(m)
    dy, dx = y[:, None] - y, x[:, None] - x
    return (dy + m - 1) * (2 * m - 1) + dx + m - 1


def shift_mask(side: int, m: int, shift: int) -> Tensor:
    """Return what a rolled map adds to the scores: -100 between cells that were not neighbours before it was rolled.

    Args:
        side: cells a side of the map.
        m: cells a side of a window.
        shift: cells by which the map was rolled, up and left.

    Returns:
        (number of windows, 1, m^2, m^2).
    """
    cells = torch.arange(side)
    band = (cells >= side - m).long() + (cells >= side - shift).long()  # three bands a side: nine regions
    region = window_partition((3 * band[:, None] + band)[None, :, :, None], m)
    return -100.0 * (region != region.transpose(1, 2)).float()[:, None]


class WindowAttention(MultiHeadAttention):
    """softmax(Q K^T / sqrt(d) + B + mask) V in each of N nW windows. Shapes: (N nW, m^2, C) -> (N nW, m^2, C).

    It computes the equation: with a bias torch's kernel is no faster on a CPU, and cannot be exported to ONNX.
    """

    index: Tensor

    def __init__(self, width: int, heads: int, m: int):
        super().__init__(width, heads)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * m - 1) ** 2, heads))
        self.register_buffer("index", relative_index(m), persistent=False)
        nn.init.normal_(self.relative_position_bias_table, std=0.02)

    def bias(self) -> Tensor:
        """Return B of every head: (H, m^2, m^2)."""
        return self.relative_position_bias_table[self.index].permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within each window; `mask` (nW, 1, m^2, m^2) is added for the windows of each image."""
        bias = self.bias()[None]
        bias = bias if mask is None else (bias + mask).repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
        return self.merge(attention(*self.split(x), bias)[0])
