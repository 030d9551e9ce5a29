"""`evaluating` and `probe`: a look that leaves no trace."""

import pytest
import torch
from torch import nn

from zoo.frame.evaluation import evaluating, probe


class Mixed(nn.Module):
    """A network of which one part stays in eval mode, as frozen norms do."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.train()
        self.norm.eval()

    def forward(self, x):
        return self.norm(self.conv(x))


def modes(network: nn.Module) -> list[bool]:
    return [module.training for module in network.modules()]


def test_every_module_evaluates_and_has_its_own_mode_back():
    network = Mixed()
    with evaluating(network):
        assert modes(network) == [False, False, False]
        assert torch.is_grad_enabled()  # the caller's business
    assert modes(network) == [True, True, False]


def test_modes_come_back_after_an_exception():
    network = Mixed()
    with pytest.raises(RuntimeError, match="mine"), evaluating(network):
        raise RuntimeError("mine")
    assert modes(network) == [True, True, False]


def test_probe_gives_shapes_for_the_networks_own_channels_and_changes_nothing():
    network = Mixed()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    out = probe(network, 8)
    assert out.shape == (1, 4, 6, 6) and out.is_meta
    assert modes(network) == [True, True, False]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
