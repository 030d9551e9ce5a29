"""Xavier: uniform within its bound, the same variance forwards and backwards."""

import pytest
import torch
from torch import nn

from callbacks import Xavier
from tests.callbacks.network.conftest import FANS


@pytest.mark.parametrize("layer", FANS)
def test_xavier_is_uniform_within_its_bound(drawn, layer):
    w = drawn(Xavier())[layer].weight
    bound = (6 / sum(FANS[layer])) ** 0.5
    assert w.abs().max() <= bound
    assert w.abs().max() > 0.99 * bound
    assert w.std().item() == pytest.approx(bound / 3**0.5, rel=0.06)
    assert w.mean().item() == pytest.approx(0, abs=4 * bound / w.numel() ** 0.5)


def test_xavier_keeps_the_variance_of_signals_and_gradients_through_square_layers():
    """With as many inputs as outputs, a linear layer keeps the variance both ways."""
    torch.manual_seed(0)
    layer = nn.Linear(500, 500)
    Xavier().fill(layer.weight)
    x = torch.randn(200, 500)
    with torch.no_grad():
        forwards, backwards = (x @ layer.weight.T).var() / x.var(), (x @ layer.weight).var() / x.var()
    assert forwards.item() == pytest.approx(1, rel=0.05)
    assert backwards.item() == pytest.approx(1, rel=0.05)
