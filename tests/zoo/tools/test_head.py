"""A new head: all other weights stay, for timm's networks, torchvision's and one's own."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from zoo.tools.head import new_head

NETWORKS = {
    "timm resnet18": lambda: timm.create_model("resnet18", num_classes=10),
    "torchvision mobilenet_v3": lambda: torchvision.models.mobilenet_v3_small(num_classes=10),
    "torchvision squeezenet": lambda: torchvision.models.squeezenet1_1(num_classes=10),
    "own": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_head_is_new(name):
    network = NETWORKS[name]().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    new_head(network, 4)
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 4)
    changed = {key for key, value in network.state_dict().items() if value.shape != before[key].shape}
    assert len(changed) in (1, 2) and all(
        value.shape[0] == 4 for key, value in network.state_dict().items() if key in changed
    )
    same = [torch.equal(value, before[key]) for key, value in network.state_dict().items() if key not in changed]
    assert same and all(same)


def test_a_network_without_a_head():
    with pytest.raises(TypeError, match="no linear layer to take for its head"):
        new_head(nn.Sequential(nn.Conv2d(3, 4, 3)), 2)
