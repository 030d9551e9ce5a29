"""A group norm whose backward pass is fast where torch's is slow: bfloat16, channels_last, on a CPU.

There torch 2.14 is fast on contiguous maps alone, so they are copied (`benchmarks/goals.py`).
"""

import torch
from torch import Tensor, nn

from zoo.layers.layout import is_channels_last


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` of maps (N, C, H, W) -> same, in the layout of its input."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.bfloat16 or not x.is_cpu or not torch.is_grad_enabled() or not is_channels_last(x):
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)
