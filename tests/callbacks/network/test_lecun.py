"""LeCun: the paper's variance of weights, and signals of constant variance."""

import pytest
import torch
from torch import nn

from callbacks import LeCun
from tests.callbacks.network.conftest import FANS, wide
from zoo import Classifier


@pytest.fixture
def drawn(trainer):
    model = wide()
    torch.manual_seed(1)
    LeCun().setup(trainer(), model, "fit")
    return model.network


@pytest.mark.parametrize("layer", FANS)
def test_is_normal_with_variance_one_over_fan_in(drawn, layer):
    w, std = drawn[layer].weight, FANS[layer][0] ** -0.5
    assert w.std().item() == pytest.approx(std, rel=0.06)
    assert (w.abs() < std).float().mean().item() == pytest.approx(0.683, abs=0.05)  # normal, not uniform


def test_biases_are_zero_and_norms_stay(drawn):
    assert all((drawn[i].bias == 0).all() for i in FANS)
    assert all((p == 0.7).all() for i in (1, 4) for p in drawn[i].parameters())


def test_selu_keeps_mean_and_variance_through_ten_layers(trainer):
    """The fixed point of selu is mean 0, variance 1; LeCun's weights keep signals there."""
    model = Classifier(
        nn.Sequential(*[m for _ in range(10) for m in (nn.Linear(300, 300), nn.SELU())], nn.Linear(300, 9))
    )
    torch.manual_seed(1)
    LeCun().setup(trainer(), model, "fit")
    with torch.no_grad():
        out = model.network[:-1](torch.randn(200, 300))
    assert out.mean().item() == pytest.approx(0, abs=0.1)
    assert out.var().item() == pytest.approx(1, abs=0.2)
