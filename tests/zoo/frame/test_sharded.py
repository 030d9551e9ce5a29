"""Weights in parts, in one process: which modules are blocks, and the functions that leave plain tensors alone."""

import pytest
import torch
from torch import nn

from zoo import ConvNeXt, ResNet, Swin, ViT
from zoo.frame import sharded
from zoo.frame.elastic import warn_of_restarts


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (lambda: ViT("Ti/16", 10, 32), 12),
        (lambda: ConvNeXt("T", 10, 32), 18),
        (lambda: Swin("T", 10, 32), 12 + 4),  # its stages stand in a sequence too
        (lambda: ResNet("20", 10, 32), 9),
    ],
)
def test_blocks_are_those_of_the_paper(model, count):
    with torch.device("meta"):
        network = model()
    found = sharded.blocks_of(network)
    assert len(found) == len({*found}) == count
    order = [*network.modules()]
    places = [order.index(block) for block in found]
    assert places == sorted(places, reverse=True)  # inner ones first


def test_plain_tensors_are_left_alone():
    x, y = torch.randn(3, 2, requires_grad=True), torch.zeros(3, 2)
    assert sharded.own(x) is x and sharded.whole(x) is x
    assert sharded.part_like(y, x) is y and sharded.from_rank_0(y, x) is y
    tree = {"a": [y, (1, y)], "b": "c"}
    assert sharded.gather(tree)["a"][1][1] is y and sharded.gather(tree).keys() == tree.keys()


def test_swapped_exchanges_and_restores():
    network = nn.Linear(2, 1, bias=False)
    before, other = network.weight.detach().clone(), torch.tensor([[3.0, -1.0]])
    weights = {"weight": other.clone()}
    with pytest.raises(ZeroDivisionError), sharded.swap_weights(network, weights):
        assert torch.equal(network.weight, other) and torch.equal(weights["weight"], before)
        raise ZeroDivisionError
    assert torch.equal(network.weight, before) and torch.equal(weights["weight"], other)


@pytest.mark.parametrize(
    ("restarts", "shared", "warns"), [("2", "True", True), ("0", "True", False), ("2", "False", False)]
)
def test_restarts_that_would_fail_are_told(restarts, shared, warns, monkeypatch, recwarn):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", restarts)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", shared)
    warn_of_restarts()
    assert [str(w.message) for w in recwarn] == [
        "a restart by torchrun may hang or fail: start it with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
    ] * warns
