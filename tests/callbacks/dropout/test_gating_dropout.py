import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from callbacks import ExpertBalance, GatingDropout, Linear
from callbacks.dropout.gating_dropout import skips
from tests.callbacks.conftest import At
from tests.callbacks.dropout.sheets import close, read
from zoo import MoEViT, ViT
from zoo.moe_vit import MoE


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = MoEViT("Ti", num_classes=10, image_size=32, experts=2, lr=1e-3)
    model.blocks = model.blocks[:4]
    model.stage_paths = {}
    return model


@pytest.fixture
def data():
    items = [(torch.randn(3, 32, 32), i) for i in range(4)]
    return DataLoader(items, batch_size=4)


def layers(model) -> list[MoE]:
    return [module for module in model.modules() if isinstance(module, MoE)]


@pytest.mark.parametrize("kind", ["gate", "gate-expert"])
def test_every_step_draws_anew_for_every_layer(kind, model):
    trick, seen = GatingDropout(0.3, kind), []
    for step in range(1000):
        trick.on_train_batch_start(SimpleNamespace(global_step=step), model, [], 0)
        seen.append([layer.drop for layer in layers(model)])
    first, second = (torch.tensor([step[i] == kind for step in seen]).float() for i in range(2))
    assert {*sum(seen, [])} == {None, kind}
    assert first.mean().item() == pytest.approx(0.3, abs=0.06)  # four standard deviations
    assert (first * second).mean().item() == pytest.approx(0.09, abs=0.04)  # independent draws per layer
    trick.on_train_batch_end(None, model)
    assert [layer.drop for layer in layers(model)] == [None, None]


def test_all_machines_draw_the_same_and_send_nothing(model, monkeypatch):
    """A function of the run's seed and step: another machine has another rank and another state of torch."""

    def drawn(seed, rank):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(rank)
        trick, seen = GatingDropout(0.5), []
        for step in range(20):
            trick.on_train_batch_start(SimpleNamespace(global_step=step, global_rank=rank), model, [], 0)
            seen += [layer.drop for layer in layers(model)]
        return seen

    assert drawn(3, 0) == drawn(3, 1) != drawn(4, 0)


def test_a_resumed_run_keeps_its_seed():
    trick = GatingDropout()
    trick.load_state_dict({"seed": 7})
    assert trick.state_dict() == {"seed": 7}
    assert skips(7, 0, 40, 0.5) != skips(0, 0, 40, 0.5)


def test_always_and_never(model, data, trainer):
    for p, expected in ((1.0, {"gate"}), (Linear(0, 0), {None})):
        seen = set()
        look = At("on_before_zero_grad", lambda t, m, seen=seen: seen.update(layer.drop for layer in layers(m)))
        trainer(callbacks=[GatingDropout(p), look], max_epochs=2).fit(model, data)
        assert seen == expected


def test_balance_is_added_for_routed_layers_alone(model, data, trainer):
    losses = {}

    class Look(ExpertBalance):
        def on_loss(self, model, step):
            before = step.loss.detach()
            super().on_loss(model, step)
            losses[bool(layers(model)[0].drop)] = (step.loss.detach() - before, step.extras["balance"])

    for tricks in ([], [GatingDropout(1.0)]):
        trainer(callbacks=[*tricks, Look(0.5)], max_epochs=1).fit(model, data)
    added, terms = losses[False]
    torch.testing.assert_close(added, 0.5 * sum(terms).detach(), rtol=1e-4, atol=1e-5)
    assert losses[True][0] == 0 and losses[True][1] == []


def test_balance_evens_a_gate_out(model, data, trainer):
    """The gate sends all tokens to the first expert; the class loss alone does not change that."""
    model.hparams.optimizer, model.hparams.lr, balances = "adamw", 3e-3, {}

    class Look(ExpertBalance):
        def on_loss(self, model, step):
            balances.setdefault(self.weight, []).append(step.extras["balance"][0].item())
            super().on_loss(model, step)

    model.blocks = model.blocks[:2]
    torch.nn.init.constant_(model.blocks[1].norm2.bias, 0.2)
    model.blocks[1].mlp.gate.weight.data[0] += 0.1
    for weight in (1e-9, 1.0):
        trainer(callbacks=[Look(weight)], max_epochs=15).fit(copy.deepcopy(model), data)
    assert balances[1e-9][0] == balances[1.0][0] > 1.9
    assert balances[1.0][-1] < 1.2 < balances[1e-9][-1]


@pytest.mark.parametrize("trick", [GatingDropout, ExpertBalance])
def test_refuses_a_network_without_experts(trick, data, trainer):
    with pytest.raises(TypeError, match="take MoEViT"):
        trainer(callbacks=[trick()]).fit(ViT("Ti/16", num_classes=10, image_size=32), data)


@pytest.mark.parametrize(
    "call", [lambda: GatingDropout(0.0), lambda: GatingDropout(1.5), lambda: GatingDropout(0.1, "x")]
)
def test_refusals(call):
    with pytest.raises(ValueError, match="p must be in|GatingDropout has no 'x'"):
        call()


@pytest.fixture
def experts() -> MoE:
    """One number per token; E_0(v) = 2 v + 1, E_1(v) = -v; the gate is that of the reference."""
    layer = MoE(1, 1, 2, 2.0).double()
    layer.act, layer.gate = nn.Identity(), Fixed(read("gating_dropout")["input"]["gate_logits"])
    with torch.no_grad():
        layer.w1.fill_(1)
        layer.w2.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1))
        layer.b2.copy_(torch.tensor([1.0, 0.0]).view(2, 1, 1))
    return layer


class Fixed(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits, dtype=torch.float64)

    def forward(self, x):
        return self.logits[:, None]


@pytest.mark.parametrize(
    ("drop", "name"),
    [(None, "output_not_dropped"), ("gate", "output_gate_drop"), ("gate-expert", "output_gate_expert_drop")],
)
def test_the_slow_loops_numbers(experts, drop, name):
    """The reference's four tokens are four images of one token: two on each of two machines."""
    experts.drop = drop
    tokens = torch.tensor(read("gating_dropout")["input"]["tokens"], dtype=torch.float64).view(4, 1, 1)
    close(experts.train()(tokens).flatten(), read("gating_dropout")["expected"][name])
    close(experts.eval()(tokens).flatten(), read("gating_dropout")["expected"]["output_not_dropped"])
    assert experts.gate(tokens).argmax(-1).flatten().tolist() == read("gating_dropout")["expected"]["top1"]


def test_a_skipped_layer_gives_every_parameter_a_gradient():
    """DDP raises an error for parameters without a gradient."""
    layer, x = MoE(8, 16, 2, 1.25), torch.randn(2, 5, 8)
    layer.drop = "gate-expert"
    y = layer(x)
    assert y.shape == x.shape and not y.any()
    y.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in layer.parameters())
