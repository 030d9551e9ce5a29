"""Activation: values by hand for each name, the modules that change, and refusals."""

import math

import pytest
import torch
from torch import nn

import zoo
from callbacks import Activation
from callbacks.network.activation import ACTIVATIONS, swap_activations
from tests.conftest import tiny_classifier
from tests.zoo.test_every_model import make


def phi(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


BY_HAND = {
    "sigmoid": sigmoid,
    "tanh": math.tanh,
    "relu": lambda x: max(0, x),
    "relu6": lambda x: min(max(0, x), 6),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    "gelu": lambda x: x * phi(x),
    "gelu_tanh": lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu_sigmoid": lambda x: x * sigmoid(1.702 * x),
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "hard_swish": lambda x: x * min(max(0, x + 3), 6) / 6,
    "mish": lambda x: x * math.tanh(math.log(1 + math.exp(x))),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_values_by_hand(kind):
    network = nn.Sequential(nn.ReLU())
    swap_activations(network, kind)
    points = [-7.0, -3.0, -0.5, 0.0, 0.7, 2.5, 8.0]
    got = network(torch.tensor(points, dtype=torch.float64) if kind != "prelu" else torch.tensor(points))
    assert got.tolist() == pytest.approx([BY_HAND[kind](x) for x in points], abs=1e-6)


def made(kind, **options):
    network = nn.Sequential(nn.ReLU())
    swap_activations(network, kind, **options)
    return network[0]


def test_slope_and_beta_by_hand():
    x = torch.tensor([-2.0, 0.5])
    torch.testing.assert_close(made("leaky_relu", slope=0.1)(x), torch.tensor([-0.2, 0.5]))
    for learned in (False, True):
        y = made("swish", beta=1.5, learned=learned)(x)
        torch.testing.assert_close(y, torch.tensor([-2 * sigmoid(-3), 0.5 * sigmoid(0.75)]))
    x = torch.linspace(-9, 9, 1001)
    torch.testing.assert_close(made("swish", beta=0.0)(x), x / 2)
    torch.testing.assert_close(made("swish", beta=1e4)(x), x.relu(), rtol=0, atol=1e-4)
    torch.testing.assert_close(made("swish")(x), nn.functional.silu(x))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_least_value_of_swish(beta):
    """It is -.2785 / beta, at -1.2785 / beta."""
    x = torch.linspace(-6, 0, 60_001, dtype=torch.float64)
    least, where = made("swish", beta=beta)(x).min(0)
    assert least.item() == pytest.approx(-0.27846 / beta, abs=1e-5)
    assert x[where].item() == pytest.approx(-1.27846 / beta, abs=2e-4)


def test_how_far_the_two_approximations_of_gelu_are_off():
    x = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    exact = made("gelu")(x)
    assert (made("gelu_sigmoid")(x) - exact).abs().max().item() == pytest.approx(0.0203, abs=1e-4)
    assert (made("gelu_tanh")(x) - exact).abs().max().item() == pytest.approx(4.7e-4, abs=1e-5)


def test_a_learned_beta_has_the_right_slope_and_is_not_decayed():
    swish, x = made("swish", learned=True), torch.tensor([-1.5, 0.3, 2.0])
    swish(x).sum().backward()
    s = torch.sigmoid(x)
    torch.testing.assert_close(swish.beta.grad, (x**2 * s * (1 - s)).sum()[None])
    assert [p.ndim for p in swish.parameters()] == [1]  # `NoBiasDecay` leaves vectors out


def test_checkpoints_record_what_was_asked_for_alone(trainer, tiny_data):
    for trick, record in (
        (Activation("swish"), {"kind": "swish"}),
        (Activation("swish", beta=1.5, learned=True), {"kind": "swish", "beta": 1.5, "learned": True}),
        (Activation("leaky_relu", slope=0.2), {"kind": "leaky_relu", "slope": 0.2}),
    ):
        model = tiny_classifier()
        trainer(callbacks=[trick], max_steps=0).fit(model, tiny_data)
        assert model.surgery == [("Activation", record)]


def test_every_name_is_checked():
    assert BY_HAND.keys() == ACTIVATIONS.keys()


def test_gates_stay():
    network = nn.Sequential(nn.ReLU(), nn.Sigmoid(), nn.Hardsigmoid(), nn.Hardswish())
    swap_activations(network, "mish")
    assert [type(m) for m in network] == [nn.Mish, nn.Sigmoid, nn.Hardsigmoid, nn.Mish]


def test_what_was_shared_stays_shared():
    relu = nn.ReLU()
    network = nn.Sequential(nn.Sequential(relu, relu), nn.ReLU())
    swap_activations(network, "prelu")
    assert network[0][0] is network[0][1] is not network[1]
    assert len(list(network.parameters())) == 2


@pytest.mark.parametrize("name", [n for n in zoo.__all__ if n not in ("InceptionV4", "InceptionResNetV2")])
def test_no_relu_is_left_in_any_model(name):
    """One pass runs no ReLU operation, not even from a function called in a `forward`."""
    with torch.device("meta"):
        model = make(name, 32).eval()
        swap_activations(model, "tanh")
        asked = Asked()
        with torch.no_grad(), asked:
            model(torch.empty(1, 3, 32, 32))
    assert "tanh" in asked.names
    rectifiers = {"relu", "relu_", "hardtanh", "hardtanh_", "clamp_min", "gelu", "silu", "hardswish_"}
    gates = {"hardtanh"} if name == "MobileNetV3" else set()  # timm's is relu6(x + 3) / 6
    assert not asked.names & rectifiers - gates


class Asked(torch.utils._python_dispatch.TorchDispatchMode):
    """Record the names of the operations that are run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_refusals():
    with pytest.raises(ValueError, match="Activation has no 'gleu'; did you mean 'gelu'"):
        Activation("gleu")
    with pytest.raises(TypeError, match="has no activation modules to change"):
        swap_activations(nn.Conv2d(3, 3, 3), "gelu")
    with pytest.raises(ValueError, match="Activation: beta belongs to 'swish', not to 'silu': take it out"):
        Activation("silu", beta=2.0)
    with pytest.raises(ValueError, match="slope belongs to 'leaky_relu'"):
        Activation(slope=0.1)
