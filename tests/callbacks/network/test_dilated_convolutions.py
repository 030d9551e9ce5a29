"""Dilated convolutions: what they see, counted pixel by pixel; the rule for gaps; the layers that change."""

import pytest
import torch
from torch import nn

from callbacks import DilatedConvolutions
from callbacks.network.dilated_convolutions import dilate, gap
from tests.conftest import tiny_classifier
from zoo import ResNet, ViT


def seen(rates):
    """Return the side of what one output sees through a layer of each rate, and the share of its pixels."""
    layers = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in rates))
    for layer in layers:
        nn.init.ones_(layer.weight)
    dilate(layers, [str(i) for i in range(len(rates))], rates)
    x = torch.zeros(1, 1, 41, 45, requires_grad=True)
    y = layers(x)
    assert y.shape == x.shape
    y[0, 0, 20, 22].backward()
    rows, columns = x.grad[0, 0].nonzero().T
    height, width = (int(v.max() - v.min()) + 1 for v in (rows, columns))
    return height, width, len(rows) / (height * width)


@pytest.mark.parametrize(
    ("rates", "side", "share"),
    [((1, 3, 5), 19, 1), ((1, 2, 5), 17, 1), ((2, 2, 2), 13, 0.29), ((2, 4, 8), 29, 0.27), ((1, 2, 9), 25, 0.71)],
)
def test_what_three_layers_see(rates, side, share):
    height, width, found = seen(rates)
    assert height == width == side and found == pytest.approx(share, abs=0.005)


def test_the_rule_for_gaps_by_hand():
    assert [gap(r) for r in ((1, 3, 5), (1, 2, 5), (1, 2, 9), (1,), (1, 3))] == [3, 2, 5, 1, 3]


def test_the_last_stage_in_turn_and_nothing_else(trainer, tiny_data):
    torch.manual_seed(0)
    model = ResNet("20", num_classes=10, image_size=8)
    before = dict(model.named_parameters())
    trainer(callbacks=[DilatedConvolutions()], max_steps=0).fit(model, tiny_data)
    rates = [m.dilation[0] for m in model.layer3.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert rates == [1, 3, 5, 1, 3, 5]
    assert {m.dilation for m in model.layer2.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}
    after = dict(model.named_parameters())
    assert after.keys() == before.keys() and all(after[name] is p for name, p in before.items())
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_rates_of_one_change_nothing():
    torch.manual_seed(0)
    conv, x = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)), torch.randn(2, 4, 9, 7)
    before = conv(x)
    dilate(conv, ["0"], [1])
    assert torch.equal(conv(x), before)


def test_refusals(trainer, tiny_data):
    with pytest.raises(ValueError, match="miss pixels in between"):
        DilatedConvolutions((1, 2, 9))
    with pytest.raises(ValueError, match="DilatedConvolutions: rates must be in"):
        DilatedConvolutions((0, 3))
    for model, where in ((ViT("Ti/16", num_classes=10, image_size=32), None), (tiny_classifier(), "classifier")):
        with pytest.raises(TypeError, match="no plain 3x3 convolutions there"):
            trainer(callbacks=[DilatedConvolutions(where=where)]).fit(model, tiny_data)
