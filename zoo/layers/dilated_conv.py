"""A convolution with right gradients where torch's are wrong: grouped, dilated, bfloat16, on a CPU.

With channels_last images or weights, torch 2.14 (oneDNN) leaves uninitialised memory in those weight gradients. At
32 x 32 px they often become NaN. Our data modules deliver channels_last images.
"""

import torch
from torch import Tensor, nn


class DilatedConv2d(nn.Conv2d):
    """`nn.Conv2d`; in bfloat16 on a CPU it computes in the contiguous memory layout, whose gradients are right."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        if not (half and x.is_cpu):
            return super().forward(x)
        y = self._conv_forward(x.contiguous(), self.weight.contiguous(), self.bias)
        return y.contiguous(memory_format=torch.channels_last) if x.stride(1) == 1 else y
