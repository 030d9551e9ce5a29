"""A convolution with right gradients where torch's are not: of weights in groups and dilation, in bfloat16, on a CPU.

torch 2.14 (oneDNN) leaves memory in them that nobody wrote where images or weights are channels_last, at 32 x 32 px
often enough to end in NaN; and channels_last is how our data modules' images come.
"""

import torch
from torch import Tensor, nn


class DilatedConv2d(nn.Conv2d):
    """`nn.Conv2d` in every number but these: there it goes through the other layout of memory."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        if not (half and x.is_cpu):
            return super().forward(x)
        y = self._conv_forward(x.contiguous(), self.weight.contiguous(), self.bias)
        return y.contiguous(memory_format=torch.channels_last) if x.stride(1) == 1 else y
