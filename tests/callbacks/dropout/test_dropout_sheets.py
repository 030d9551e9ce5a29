"""Numbers of papers' formulas, by slow loops, for methods of the dropout museum whose other tests have none of them."""

import json
from math import sqrt
from pathlib import Path

import pytest
import torch
from torch import nn

import callbacks
from callbacks.dropout.gaussian_dropout import noise
from callbacks.dropout.maxout import maxout
from callbacks.dropout.subtree_dropout import cut
from callbacks.loss.flooding import flood
from callbacks.loss.l1 import l1
from callbacks.loss.l2 import l2
from callbacks.loss.r_drop import disagreement
from callbacks.network.stochastic_pooling import StochasticPool2d
from zoo.hierarchical_mixture import leaf_weights
from zoo.layers.basic import linear_rates
from zoo.moe_vit import MoE

DATA = Path(__file__).parents[2] / "data/dropout"
CLASSICS, GATING, TREE = (
    json.loads((DATA / f"{name}.json").read_text()) for name in ("classics", "gating_dropout", "hme_dropout")
)


def close(ours, theirs):
    ours = torch.as_tensor(ours).double()
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), rtol=1e-6, atol=1e-6)


# ---- classics


def test_maxout():
    z = torch.tensor(CLASSICS["maxout"]["z"])
    close(maxout(z.flatten(), z.shape[1], 0), CLASSICS["maxout"]["output"])


def test_stochastic_pooling():
    sheet = CLASSICS["stochastic_pooling"]
    pool, x = StochasticPool2d((2, 2), (2, 2), (0, 0), False), torch.tensor(sheet["region"]).view(1, 1, 2, 2)
    close(pool.eval()(x).item(), sheet["test_output"])
    torch.manual_seed(0)
    drawn = pool.train()(x.expand(80, 100, 2, 2)).flatten()
    close(drawn.unique(), sheet["train_support"])
    for value, chance in zip(sheet["region"], sheet["probability"], strict=True):
        assert (drawn == value).float().mean().item() == pytest.approx(chance, abs=4 * sqrt(0.24 / 8000))
    assert pool(x * 0).item() == pool.eval()(x * 0).item() == 0


def test_flooding():
    for row in CLASSICS["flooding"]["values"]:
        loss = torch.tensor(row["loss"], requires_grad=True)
        flooded = flood(loss, CLASSICS["flooding"]["b"])
        flooded.backward()
        close(flooded.item(), row["flooded"])
        assert loss.grad == row["gradient_sign"]


def test_r_drop():
    """The sheet sums the two losses, ours is their mean: see the file."""
    sheet = CLASSICS["r_drop"]
    p = torch.tensor([sheet["P1"], sheet["P2"]], dtype=torch.float64)
    close(-p[:, sheet["label"]].log().sum(), sheet["nll_sum"])
    term = disagreement(p.log())
    close(term, sheet["symmetric_kl"])  # half of both
    close(sheet["nll_sum"] + sheet["alpha"] * term, sheet["total"])


def test_stochastic_depth():
    sheet = CLASSICS["stochastic_depth"]
    factors = callbacks.StochasticDepth(1 - sheet["p_L"]).factors(sheet["L"])
    close([1 - (1 - sheet["p_L"]) * factor for factor in factors], sheet["survival"])
    close(sum(linear_rates(1 - sheet["p_L"], (4, 6)), []), sheet["timm_linspace_drop"])


@pytest.mark.parametrize("row", CLASSICS["gaussian_dropout"], ids=lambda row: str(row["p"]))
def test_gaussian_dropout(row):
    close(noise(torch.ones(1, dtype=torch.float64), row["p"]) - 1, [row["sigma"]])
    close((noise(torch.ones(1, dtype=torch.float64), row["p"]) - 1) ** 2, [row["alpha"]])


def test_penalties():
    w = [torch.tensor(CLASSICS["l1_l2"]["w"])]
    close(l1(w), CLASSICS["l1_l2"]["l1"])
    close(l2(w), CLASSICS["l1_l2"]["half_l2"])


# ---- experts


@pytest.fixture
def experts() -> MoE:
    """One number a token; E_0(v) = 2 v + 1, E_1(v) = -v; the gate says what the sheet's says."""
    layer = MoE(1, 1, 2, 2.0).double()
    layer.act, layer.gate = nn.Identity(), Says(GATING["input"]["gate_logits"])
    with torch.no_grad():
        layer.w1.fill_(1)
        layer.w2.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1))
        layer.b2.copy_(torch.tensor([1.0, 0.0]).view(2, 1, 1))
    return layer


class Says(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits, dtype=torch.float64)

    def forward(self, x):
        return self.logits[:, None]


@pytest.mark.parametrize(
    ("drop", "name"),
    [(None, "output_not_dropped"), ("gate", "output_gate_drop"), ("gate-expert", "output_gate_expert_drop")],
)
def test_gating_dropout(experts, drop, name):
    """Its four tokens are four images of one token: two on each of two machines."""
    experts.drop = drop
    tokens = torch.tensor(GATING["input"]["tokens"], dtype=torch.float64).view(4, 1, 1)
    close(experts.train()(tokens).flatten(), GATING["expected"][name])
    close(experts.eval()(tokens).flatten(), GATING["expected"]["output_not_dropped"])
    assert experts.gate(tokens).argmax(-1).flatten().tolist() == GATING["expected"]["top1"]


def test_subtree_dropout():
    gates, leaves = (torch.tensor([*TREE["params"][name].values()]).double() for name in ("gate_left", "leaves"))
    p, expected = TREE["params"]["p"], TREE["expected"]

    def says(gates):
        return (leaf_weights(gates) * leaves).sum(1)

    stay = torch.tensor([row["delta_root_l_r"] for row in expected["all_combinations"]])
    outputs = says(cut(gates.expand(8, 3), torch.where(stay == 1, 0.0, 1.0), 1 - p))
    close(outputs, [row["output"] for row in expected["all_combinations"]])
    chance = torch.tensor([row["probability"] for row in expected["all_combinations"]]).double()
    close((outputs * chance).sum(), expected["exact_expectation"])
    close(says(gates[None] * (1 - p))[0], expected["output_with_scaled_gates"])
    close(says(gates[None])[0], expected["no_dropout"])
