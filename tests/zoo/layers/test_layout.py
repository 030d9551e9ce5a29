"""Layouts in memory: what works along channels gives the same numbers in both, and keeps channels last."""

import pytest
import torch
import torch.nn.functional as F

from callbacks.data.channel_order import channel_order
from callbacks.dropout.maxout import MaxoutConv2d
from callbacks.network.stochastic_pooling import StochasticPool2d
from zoo.cbam import SpatialGate
from zoo.layers.channel_shuffle import channel_shuffle
from zoo.layers.layout import GlobalAvgPool, every, is_channels_last, match_layout
from zoo.resnet import PadShortcut


def maxout(x):
    layer = MaxoutConv2d(6, 8, 3)
    layer.pieces = 2
    return layer.to(memory_format=torch.channels_last if is_channels_last(x) else torch.contiguous_format)(x)


def spatial_gate(x):
    gate, seen = SpatialGate(), []
    gate.spatial.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    gate(x)
    return seen[0]


@pytest.mark.parametrize("f", [
    lambda x: channel_shuffle(x, 3), lambda x: channel_order(x, torch.rand(2, 6).argsort(1)), maxout, spatial_gate,
    StochasticPool2d((2, 2), (2, 2), (0, 0), False), lambda x: match_layout(x.contiguous(), x),
], ids=["shuffle", "order", "maxout", "cbam", "pooling", "copy"])  # fmt: skip
def test_channels_last_stays(f):
    ends = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        x = torch.randn(2, 6, 8, 10)
        torch.manual_seed(1)
        y = f(x.contiguous(memory_format=layout))
        assert y.is_contiguous(memory_format=layout)
        ends.append(y)
    torch.testing.assert_close(*ends)


def every_by_index(x, s):
    return x[:, :, [*range(0, x.shape[2], s)]][..., [*range(0, x.shape[3], s)]]


@pytest.mark.parametrize(("f", "by_hand"), [
    (GlobalAvgPool(), lambda x: x.mean((2, 3), keepdim=True)), (lambda x: every(x, 3), lambda x: every_by_index(x, 3)),
    (PadShortcut(6, 2), lambda x: F.pad(every_by_index(x, 2), (0, 0, 0, 0, 3, 3))),
], ids=["average", "every", "shortcut"])  # fmt: skip
def test_gradients_stay_channels_last(f, by_hand):
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 6, 8, 10).contiguous(memory_format=layout).requires_grad_()
        y, expected = f(x), by_hand(x)
        torch.testing.assert_close(y, expected)
        g = torch.randn(y.shape).contiguous(memory_format=layout)
        found = torch.autograd.grad(y, x, g)[0]
        assert found.is_contiguous(memory_format=layout)
        torch.testing.assert_close(found, torch.autograd.grad(expected, x, g)[0])
