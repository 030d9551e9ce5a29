"""The comparison with libraries finds what is equal, what is not, and weights that are not ours."""

import pytest
import torch
from torch import nn

from recipes.command import references


def test_differences_by_hand():
    ours, theirs = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        ours.weight.copy_(torch.tensor([[1.0, 2.0]]))
        theirs.weight.copy_(torch.tensor([[1.0, 2.5]]))
    found = references.differences(ours, theirs, torch.tensor([[1.0, 0.0], [1.0, 4.0]]))
    assert found == {"difference": 2.0, "spread": pytest.approx(10 / 2**0.5)}


def test_a_parameter_of_the_other_network_alone_is_refused():
    with pytest.raises(ValueError, match="other weights than ours: bias"):
        references.copy({"weight": torch.zeros(1, 2)}, nn.Linear(2, 1))


def test_what_is_compared():
    assert references.pair("ResNet") == ("50", references.Reference("torchvision", "resnet50"))
    assert references.pair("DeiT") == ("S", references.Reference("timm", "deit_small_distilled_patch16_224"))
    assert references.pair("NIN") is None and references.pair("EViT") is None


def test_ours_is_shufflenet_and_a_changed_layer_shows(monkeypatch):
    variant, reference = references.pair("ShuffleNetV2")
    assert (
        references.compare("ShuffleNetV2", "0.5x", reference._replace(name="shufflenet_v2_x0_5"))["difference"] < 1e-4
    )
    monkeypatch.setattr(
        references,
        "copy",
        lambda weights, network: network.load_state_dict(weights | {"fc.bias": weights["fc.bias"] + 1}),
    )
    found = references.compare("ShuffleNetV2", "0.5x", reference._replace(name="shufflenet_v2_x0_5"))
    assert found["difference"] == pytest.approx(1, abs=1e-3) and found["spread"] > 0.02
