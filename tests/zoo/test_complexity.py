"""The complexity table: counts by hand, published sums, and a network that is left as it was."""

import pytest
import torch
from torch import nn

from zoo import ResNet
from zoo._complexity import costs, table, total_macs


def test_counts_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    conv, relu, _, linear = costs(network, image_size=8)
    assert (conv.shape, conv.memory, conv.parameters, conv.macs) == ((8, 4, 4), 4 * 128, 8 * 27 + 8, 128 * 27)
    assert (relu.parameters, relu.macs) == (0, 0)
    assert (linear.shape, linear.parameters, linear.macs) == ((5,), 128 * 5 + 5, 128 * 5)
    assert total_macs(network, 8) == 128 * 27 + 128 * 5


def test_grouped_convolution_counts_its_groups():
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, groups=3))
    assert total_macs(network, 4) == 16 * 6 * 9  # each output channel sees one input channel


@pytest.mark.parametrize(("variant", "gmacs"), [("50", 3.858), ("50-B", 4.089), ("50-D", 4.329)])
def test_resnet_50_has_the_multiply_adds_of_the_literature(variant, gmacs):
    assert total_macs(ResNet(variant), 224) / 1e9 == pytest.approx(gmacs, abs=5e-4)


def test_stages_add_up_to_the_whole():
    model = ResNet("20", num_classes=10)
    parts = costs(model, 32, ["conv1", "layer1", "layer2", "layer3", "fc"])
    assert sum(part.macs for part in parts) == total_macs(model, 32)
    bn1 = sum(p.numel() for p in model.bn1.parameters())
    assert sum(part.parameters for part in parts) + bn1 == sum(p.numel() for p in model.parameters())
    assert [part.shape for part in parts[1:4]] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_leaves_the_network_as_it_was():
    model = ResNet("20", num_classes=10)
    model.layer2.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    costs(model, 32)
    assert model.training and model.layer1.training and not model.layer2.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_table_has_a_row_a_layer():
    rows = costs(ResNet("20", num_classes=10), 32)
    assert table(rows, "ResNet-20").row_count == len(rows)
