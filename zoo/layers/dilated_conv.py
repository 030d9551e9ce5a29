"""A convolution with right gradients where torch's are wrong: grouped, dilated, bfloat16, on a CPU.

With channels_last images or weights, torch 2.14 (oneDNN) leaves uninitialised memory in those weight gradients. At
32 x 32 px they often become NaN. Our data modules deliver channels_last images. Without dilation they are right, and as
fast as in float32 or faster: so a dilated convolution is made of plain ones, on the pixels that are d apart.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def split(x: Tensor, d: int) -> Tensor:
    """Return the pixels that are d apart as images of their own, with zeros where d does not divide the sides.

    Shapes: (N, C, H, W) -> (d d N, C, ceil(H / d), ceil(W / d)), channels_last.
    """
    x = F.pad(x, (0, -x.shape[3] % d, 0, -x.shape[2] % d))
    x = x.permute(0, 2, 3, 1).unflatten(2, (-1, d)).unflatten(1, (-1, d))  # (N, H/d, d, W/d, d, C)
    return x.permute(2, 4, 0, 1, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)


def join(y: Tensor, d: int, h: int, w: int) -> Tensor:
    """Undo `split`, for images of (h, w) pixels. Shapes: (d d N, C, ...) -> (N, C, h, w), channels_last."""
    y = y.permute(0, 2, 3, 1).unflatten(0, (d, d, -1)).permute(2, 3, 0, 4, 1, 5)  # (N, H/d, d, W/d, d, C)
    y = y.flatten(3, 4).flatten(1, 2)[:, :h, :w]
    return y.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


class DilatedConv2d(nn.Conv2d):
    """`nn.Conv2d`; in bfloat16 on a CPU it avoids torch's dilated convolution over channels_last images."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        if not (half and x.is_cpu):
            return super().forward(x)
        (s, _), (d, _) = self.stride, self.dilation
        keeps_size = self.kernel_size == (3, 3) and self.padding == self.dilation == (d, d)
        if x.stride(1) == 1 and keeps_size and s % d == 0:  # every pixel that counts is a multiple of d
            return self._plain(x[:, :, ::d, ::d], s // d)
        if x.stride(1) == 1 and keeps_size and s == 1:
            return join(self._plain(split(x, d), 1), d, *x.shape[2:])
        y = self._conv_forward(x.contiguous(), self.weight.contiguous(), self.bias)
        return y.contiguous(memory_format=torch.channels_last) if x.stride(1) == 1 else y

    def _plain(self, x: Tensor, stride: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, self.weight, self.bias, stride, padding=1, groups=self.groups)
