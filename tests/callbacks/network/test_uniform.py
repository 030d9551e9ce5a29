"""Uniform: the bound, which is that of torch's layers, and outputs with a third of the inputs' variance."""

import pytest
import torch
from torch import nn

from callbacks import Uniform
from tests.callbacks.network.conftest import FANS, wide
from zoo import Classifier


@pytest.fixture
def drawn(trainer):
    model = wide()
    torch.manual_seed(1)
    Uniform().setup(trainer(), model, "fit")
    return model.network


@pytest.mark.parametrize("layer", FANS)
def test_weights_fill_the_interval_evenly(drawn, layer):
    w, bound = drawn[layer].weight, FANS[layer][0] ** -0.5
    assert 0.99 * bound < w.abs().max() <= bound
    assert w.std().item() == pytest.approx(bound / 3**0.5, rel=0.06)
    assert (w.abs() < bound / 2).float().mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("layer", [0, 3, 6])
def test_biases_are_drawn_from_the_same_interval(drawn, layer):
    b, bound = drawn[layer].bias, FANS[layer][0] ** -0.5
    assert 0.9 * bound < b.abs().max() <= bound
    assert b.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)


def test_norms_stay(drawn):
    assert all((p == 0.7).all() for i in (1, 4) for p in drawn[i].parameters())


def test_draws_as_a_fresh_layer_of_torch(trainer):
    model = Classifier(nn.Sequential(nn.Linear(50, 40)), num_classes=40)
    torch.manual_seed(5)
    Uniform().setup(trainer(), model, "fit")
    torch.manual_seed(5)
    torchs = nn.Linear(50, 40)
    assert torch.allclose(model.network[0].weight, torchs.weight) and torch.allclose(model.network[0].bias, torchs.bias)


def test_normal_inputs_give_outputs_of_variance_one_third(trainer):
    """A sum of d inputs of variance 1, with weights of variance 1 / (3d), has variance 1/3."""
    model = Classifier(nn.Sequential(nn.Linear(500, 1000)), num_classes=1000)
    torch.manual_seed(2)
    Uniform().setup(trainer(), model, "fit")
    with torch.no_grad():
        assert model(torch.randn(400, 500)).var().item() == pytest.approx(1 / 3, rel=0.03)
