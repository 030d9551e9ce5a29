"""Activation: values by hand for each name, the modules that change, and refusals."""

import math

import pytest
import torch
from torch import nn

import zoo
from callbacks import Activation
from callbacks.network.activation import ACTIVATIONS, swap_activations
from tests.zoo.test_every_model import smallest


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
        model = getattr(zoo, name)(smallest(name, 32), num_classes=10, image_size=32).eval()
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
