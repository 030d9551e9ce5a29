"""Kaiming: normal, with the paper's variance, which keeps the variance of signals through ReLUs."""

import pytest
import torch
from torch import nn

from callbacks import Kaiming
from tests.callbacks.network.conftest import FANS
from zoo import Classifier


@pytest.mark.parametrize("layer", FANS)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_kaiming_is_normal_with_its_variance(drawn, mode, layer):
    w = drawn(Kaiming(mode))[layer].weight
    std = (2 / FANS[layer][mode == "fan_out"]) ** 0.5
    assert w.std().item() == pytest.approx(std, rel=0.06)
    assert (w.abs() < std).float().mean().item() == pytest.approx(0.683, abs=0.05)  # normal, not uniform


def test_kaiming_takes_fan_in_by_default(drawn):
    assert torch.equal(drawn(Kaiming())[0].weight, drawn(Kaiming("fan_in"))[0].weight)


def test_kaiming_keeps_the_variance_of_signals(trainer):
    model = Classifier(
        nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(400, 400), nn.ReLU())], nn.Linear(400, 9))
    )
    torch.manual_seed(1)
    Kaiming().setup(trainer(), model, "fit")
    x = torch.randn(100, 400)
    with torch.no_grad():
        before, after = x.square().mean(), model.network[:-2](x).square().mean()  # the last linear layer's outputs
    assert (after / before).item() == pytest.approx(2, rel=0.35)


def test_refuses_another_mode():
    with pytest.raises(ValueError, match="fan_in"):
        Kaiming("fan")
