"""SpatialDropout: whole channels, its moments, and torch's layer."""

from math import sqrt

import pytest
import torch

import callbacks
from tests.callbacks.dropout.sheets import assert_moments_of_dropout


@pytest.mark.parametrize("shape", [(64, 32, 3, 3), (64, 9, 32), (64, 32)])
def test_spatial_drops_whole_channels_of_each_example(shape):
    torch.manual_seed(0)
    y = callbacks.SpatialDropout(0.5).drop(torch.ones(shape), 0.5)
    channels = y.flatten(2) if y.ndim == 4 else y.mT if y.ndim == 3 else y[..., None]  # (N, C, ...)
    kept = channels[..., 0]
    assert torch.equal(channels, kept[..., None].expand_as(channels))
    assert kept.unique().tolist() == [0, 2] and 0.4 < kept.mean() / 2 < 0.6
    assert len(kept.unique(dim=0)) == 64  # each example has its own


@pytest.mark.parametrize("p", [0.1, 0.4])
def test_expectation_and_variance(p):
    torch.manual_seed(0)
    y = callbacks.SpatialDropout(p).drop(torch.ones(400, 200, 2, 2), p)[..., 0, 0]
    assert_moments_of_dropout(y, p)
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=5 * sqrt(p * (1 - p) / y.numel()))


def test_the_same_scale_as_torchs():
    torch.manual_seed(0)
    x = torch.rand(8, 16, 4, 4) + 1
    ours, theirs = callbacks.SpatialDropout(0.3).drop(x, 0.3) / x, torch.nn.Dropout2d(0.3)(x) / x
    torch.testing.assert_close(ours.amax(), theirs.amax())
