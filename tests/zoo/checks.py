"""Tests that many models share: a file of a model says `test_counts = counts_are(ResNet, COUNTS)`."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import pytest
from torch import nn

from zoo import Classifier


def counts_are(kind: type[Classifier], table: Mapping[str, tuple[int, float]], **arguments) -> Callable:
    """Make a test: parameters, and 1e9 multiply-adds to four places, of every row of the table."""

    @pytest.mark.parametrize("variant", table)
    def test(variant, count):
        parameters, multiply_adds = count(partial(kind, variant, **arguments))
        found = parameters, round(multiply_adds / 1e9, 4)
        assert found == table[variant], f"{kind.__name__}-{variant} has {found}, its row says {table[variant]}"

    return test


def stages_halve(kind: type[Classifier], channels: Iterable[int], *variant: str) -> Callable:
    """Make a test: stages of these channels, whose maps start at 56, 64 and 32 px and halve."""

    @pytest.mark.parametrize(("pixels", "first"), [(224, 56), (64, 64), (32, 32)])
    def test(pixels, first, map_sizes):
        sizes = map_sizes(partial(kind, *variant, image_size=pixels), pixels)
        assert sizes == [(c, first // 2**i) for i, c in enumerate(channels)]

    return test


def assert_he_weights(network: nn.Module, fan: str = "out_channels") -> None:
    """Assert that every convolution has the deviation sqrt(2 / (k^2 C)), to five deviations of its estimate."""
    for layer in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        std = math.sqrt(2 / (layer.kernel_size[0] ** 2 * getattr(layer, fan)))
        assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * layer.weight.numel()))
