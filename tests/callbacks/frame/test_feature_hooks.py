"""FeatureHooks: each output is returned once, and no hook remains."""

import pytest
import torch
from torch import nn

from callbacks.frame.feature_hooks import FeatureHooks
from tests.callbacks.conftest import hooks


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_catches_the_output_of_a_stage(network):
    taps = FeatureHooks({"first": network[0], "last": network[2]}, ["first", "last"])
    x = torch.randn(5, 3)
    y = network(x)
    features = taps.take()
    assert features["last"] is y
    assert torch.equal(features["first"], network[0](x))


def test_catches_only_what_was_asked_for(network):
    taps = FeatureHooks({"first": network[0], "last": network[2]}, ["last"])
    network(torch.randn(5, 3))
    assert list(taps.take()) == ["last"]


def test_gives_the_last_pass_once(network):
    taps = FeatureHooks({"last": network[2]}, ["last"])
    network(torch.randn(5, 3))
    y = network(torch.randn(5, 3))
    assert taps.take()["last"] is y
    assert taps.take() == {}


def test_features_carry_gradient(network):
    taps = FeatureHooks({"first": network[0]}, ["first"])
    network(torch.randn(5, 3))
    taps.take()["first"].sum().backward()
    assert network[0].weight.grad is not None and network[2].weight.grad is None


def test_changes_no_output_and_leaves_no_hook(network):
    x = torch.randn(5, 3)
    y = network(x)
    taps = FeatureHooks({"first": network[0]}, ["first"])
    assert torch.equal(network(x), y)
    taps.remove()
    assert hooks(network) == 0
    assert taps.take() == {}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch 2.11's dynamo reads it
@torch._dynamo.config.patch(skip_nnmodule_hook_guards=False)  # as Classifier.setup
def test_sees_compiled_networks_too(network):
    network.compile(backend="eager")
    x = torch.randn(5, 3)
    network(x)
    taps = FeatureHooks({"first": network[0]}, ["first"])  # after the first compiled call
    for _ in range(2):
        network(x)
        assert torch.equal(taps.take()["first"], network[0](x))
        taps.take()
    taps.remove()
    network(x)
    assert taps.take() == {}
