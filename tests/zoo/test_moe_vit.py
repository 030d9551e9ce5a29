import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.closed_form import fill
from zoo import MoEViT, ViT
from zoo.moe_vit import MoE, balance, queue_slots
from zoo.tools.complexity import total_macs

# Computed from the definitions by loops over tokens, on weights in closed form: 8 tokens, 2 experts
ORACLE = json.loads((Path(__file__).parents[1] / "data" / "moe_gating_dropout.json").read_text())


def known(name: str) -> torch.Tensor:
    return torch.tensor(ORACLE[name], dtype=torch.float64)


@pytest.fixture
@torch.no_grad()
def layer() -> MoE:
    """That of the oracle."""
    layer = MoE(4, 8, 2, ORACLE["capacity_factor"]).double()
    layer.gate.weight.copy_(fill(4, 2, s=1.7, a=1).T)
    layer.w1.copy_(fill(2, 4, 8, s=0.2))
    layer.b1.copy_(fill(2, 8, s=0.6)[:, None])
    layer.w2.copy_(fill(2, 8, 4, s=1.2))
    layer.b2.copy_(fill(2, 4, s=2.2)[:, None])
    return layer


@pytest.fixture
def tokens() -> torch.Tensor:
    return fill(1, 8, 4, s=0.4, a=1)


# the gate is read in float32, as mixed precision needs
close = {"rtol": 1e-6, "atol": 1e-7}


@pytest.mark.parametrize("training", [True, False])
def test_routing_of_the_oracle(training, layer, tokens):
    y = layer.train(training)(tokens)
    torch.testing.assert_close(y[0], known("y_route"), **close)
    if training:
        assert layer.take_balance().item() == pytest.approx(ORACLE["load_balance_loss_E_sum_f_P"], rel=1e-6)
    assert layer.take_balance() is None


def test_choice_and_capacity_of_the_oracle(layer, tokens):
    gates = layer.gate(tokens).softmax(-1)
    torch.testing.assert_close(gates[0], known("gate"))
    choice = gates.argmax(-1)
    assert choice[0].tolist() == ORACLE["top1"]
    place = queue_slots(choice, 2, ORACLE["capacity"])
    assert (place[0] < 10).int().tolist() == ORACLE["kept"]
    assert place[0].tolist() == [0, 5, 1, 6, 2, 3, 4, 10]


def test_dropped_steps_of_the_oracle(layer, tokens):
    """Its eight tokens are eight images of one token here: four on each of two machines."""
    layer.drop, images = "gate", tokens.transpose(0, 1)
    torch.testing.assert_close(layer.train()(images)[:, 0], known("y_gate_drop_gate_scaled"), **close)
    assert layer.take_balance() is None
    layer.drop = "gate-expert"
    assert torch.equal(layer(images)[:, 0], known("y_gate_expert_drop"))
    torch.testing.assert_close(layer.eval()(tokens)[0], known("y_route"), **close)  # evaluation always routes


def test_machines_share_a_batch_that_does_not_divide(layer):
    """Image b of 5 goes to floor(2 b / 5): 0 0 0 1 1."""
    x, layer.drop = fill(5, 3, 4, s=0.1, a=1), "gate"
    gates, y = layer.gate(x).softmax(-1), layer.train()(x)
    for b, home in enumerate((0, 0, 0, 1, 1)):
        alone = layer.mlps(x[b : b + 1], slice(home, home + 1))[0] * gates[b, :, home, None]
        torch.testing.assert_close(y[b], alone, **close)


def test_each_token_goes_through_its_expert(layer):
    """With room for all: a loop over images and tokens."""
    layer.capacity, x = 8.0, fill(3, 7, 4, s=0.3, a=2)
    y, gates = layer.eval()(x), layer.gate(x).softmax(-1)
    assert {*gates.argmax(-1).flatten().tolist()} == {0, 1}
    for n in range(3):
        for i in range(7):
            e = gates[n, i].argmax()
            hidden = F.gelu(x[n, i] @ layer.w1[e] + layer.b1[e, 0])
            torch.testing.assert_close(y[n, i], gates[n, i, e] * (hidden @ layer.w2[e] + layer.b2[e, 0]), **close)


def test_places_are_counted_in_each_image():
    choice = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 0]])
    assert queue_slots(choice, 2, 2).tolist() == [[2, 3, 0, 4], [0, 1, 2, 4]]


def test_balance_is_one_if_even_and_the_experts_number_if_not():
    even = torch.full((1, 4, 4), 0.25)
    assert balance(even, torch.arange(4)[None]).item() == pytest.approx(1)
    one = torch.eye(4)[0].expand(1, 4, 4)
    assert balance(one, one.argmax(-1)).item() == pytest.approx(4)


def test_balance_teaches_the_gate_to_share():
    """Its gradient moves probability from the expert that has all."""
    logits = torch.tensor([2.0, 0.0, 0.0]).expand(1, 5, 3).clone().requires_grad_()
    gates = logits.softmax(-1)
    balance(gates, gates.argmax(-1)).backward()
    assert (logits.grad[..., 0] > 0).all() and (logits.grad[..., 1:] < 0).all()


def test_counts():
    """DeiT-S is 22,050,664; six of twelve MLPs become eight and a gate. A queue has ceil(1.25 * 197 / 8) places."""
    with torch.device("meta"):
        model, vit = MoEViT("S"), ViT("S/16")
    d, h = 384, 1536
    mlp = 2 * d * h + d + h
    assert sum(p.numel() for p in model.parameters()) == 22_050_664 + 6 * (7 * mlp + 8 * d) == 71_694_952
    places_of_all = 8 * math.ceil(1.25 * 197 / 8)
    more = 6 * (2 * d * h * (places_of_all - 197) + 197 * 8 * d)
    assert total_macs(model, 224) - total_macs(vit, 224) == more


def test_an_image_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    model, images = (
        MoEViT("Ti", num_classes=10, image_size=32, experts=4, capacity=0.5).eval(),
        torch.randn(5, 3, 32, 32),
    )
    with torch.no_grad():
        torch.testing.assert_close(model(images)[2:3], model(images[2:3]), rtol=1e-4, atol=1e-5)


def test_with_equal_experts_it_is_a_vit_whose_mlps_are_gated():
    torch.manual_seed(0)
    model = MoEViT("Ti", num_classes=10, image_size=32, experts=2, capacity=2.0).eval()
    vit, images = ViT("Ti/16", num_classes=10, image_size=32).eval(), torch.randn(2, 3, 32, 32)
    state = {key: value for key, value in model.state_dict().items() if key in vit.state_dict()}
    for i in range(1, 12, 2):
        moe = model.blocks[i].mlp
        for weights in (moe.w1, moe.w2):
            weights.data[1] = weights.data[0]
        torch.nn.init.zeros_(moe.gate.weight)  # gates of a half
        state |= {f"blocks.{i}.mlp.fc1.weight": moe.w1[0].T, f"blocks.{i}.mlp.fc1.bias": moe.b1[0, 0]}
        state |= {f"blocks.{i}.mlp.fc2.weight": moe.w2[0].T / 2, f"blocks.{i}.mlp.fc2.bias": moe.b2[0, 0] / 2}
    vit.load_state_dict(state)
    torch.testing.assert_close(model(images), vit(images), rtol=1e-4, atol=1e-5)


def test_training_gives_a_balance_for_each_layer_that_routes():
    model, images = MoEViT("Ti", num_classes=10, image_size=32).train(), torch.randn(2, 3, 32, 32)
    terms = model(images)[1]["balance"]
    assert len(terms) == 6 and all(1 <= term.item() < 8 for term in terms)
    for block in model.blocks[1:6:2]:
        block.mlp.drop = "gate"
    assert len(model(images)[1]["balance"]) == 3
    assert [type(block.mlp) is MoE for block in model.blocks] == [False, True] * 6


@pytest.mark.parametrize("arguments", [{"experts": 1}, {"capacity": 0.0}])
def test_refusals(arguments):
    with pytest.raises(ValueError, match="2 experts or more and a capacity > 0"):
        MoEViT("Ti", image_size=32, **arguments)
