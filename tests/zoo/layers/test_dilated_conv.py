"""Dilated convolutions in bfloat16 on a CPU: as torch's in float32, for any stride, dilation and side."""

import pytest
import torch
from torch import nn

from zoo.layers.dilated_conv import DilatedConv2d, join, split


def test_pixels_two_apart_by_hand():
    x = torch.arange(9.0).view(1, 1, 3, 3)
    assert split(x, 2).squeeze(1).tolist() == [[[0, 2], [6, 8]], [[1, 0], [7, 0]], [[3, 5], [0, 0]], [[4, 0], [0, 0]]]
    assert torch.equal(join(split(x, 2), 2, 3, 3), x)


@pytest.mark.parametrize(("stride", "d"), [(1, 2), (2, 2), (1, 3), (2, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("groups", [1, 4])
def test_as_torchs_in_float32(stride, d, groups):
    torch.manual_seed(3)
    plain = nn.Conv2d(8, 12, 3, stride, padding=d, dilation=d, groups=groups).bfloat16().float()
    ours = DilatedConv2d(8, 12, 3, stride, padding=d, dilation=d, groups=groups).bfloat16()
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 7, 10).bfloat16().contiguous(memory_format=torch.channels_last)
    ends = []
    for layer, images in ((plain, x.float().requires_grad_()), (ours, x.requires_grad_())):
        y = layer(images)
        y.float().sin().sum().backward()
        ends.append([z.float() for z in (y, images.grad, layer.weight.grad, layer.bias.grad)])
    assert y.is_contiguous(memory_format=torch.channels_last)
    for theirs, found in zip(*ends, strict=True):
        assert (theirs - found).norm() < 0.02 * theirs.norm()
