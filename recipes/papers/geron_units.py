"""Géron's book, chapter 11: leaky units and batch norm in an MLP of two hidden layers

Paper:    PReLU https://arxiv.org/abs/1502.01852, batch norm https://arxiv.org/abs/1502.03167; the numbers are those of
          Hands-On Machine Learning, 2nd edition (Géron; 2019)
Source:   github ageron/handson-ml2 at 1e211527, 11_training_deep_neural_networks.ipynb (outputs)
Settings: Fashion-MNIST / 255, images 5,000 to 60,000, accuracy on the first 5,000; 784-300-100-10; SGD .001, batch 32,
          10 epochs. Leaky units have slope .3 (Keras's), or a learned slope for each unit that starts at 0, and He's
          weights. Batch norm is on the pixels and after, or before, each ReLU, with Glorot-uniform weights
Trap:     The leaky networks and those with batch norm also differ in their initial weights.
Rule:     one run, last epoch
"""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from callbacks import Kaiming, Xavier
from recipes.papers.frame.data import digits
from recipes.papers.frame.initial import keras_norms
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP
from zoo.frame.surgery import replace
from zoo.layers.norm_order import Norm

WIDTHS = {"hidden1": 300, "hidden2": 100}


def leaky(make: Callable[[int], nn.Module]) -> Fit:
    """Return an arm whose activations `make(units)` makes."""

    def network(run) -> MLP:
        model = MLP("300-100", 10, in_chans=1, **sgd(1e-3))
        for name, units in WIDTHS.items():
            replace(model, f"{name}.act", make(units))
        return model

    return Fit(network, lambda run: [Kaiming()], epochs=10, batch=32)


def with_norm(norm: Norm) -> Fit:
    """Return an arm with batch norms, also on the pixels."""

    def network(run) -> MLP:
        model = MLP("300-100", 10, in_chans=1, norm=norm, **sgd(1e-3))
        layers = OrderedDict([("pixels", nn.BatchNorm1d(784)), *model.get_submodule("hidden1").named_children()])
        replace(model, "hidden1", nn.Sequential(layers))
        return keras_norms(model)

    return Fit(network, lambda run: [Xavier()], epochs=10, batch=32)


ROW = Row(
    name="geron_units",
    data=lambda root: digits(root, "FashionMNIST", slice(5000, None), slice(5000)),
    arms={
        "LeakyReLU": leaky(lambda units: nn.LeakyReLU(0.3)),
        "PReLU": leaky(lambda units: nn.PReLU(units, init=0.0)),
        "BN behind": with_norm("after"),
        "BN before": with_norm("before"),
    },
    claims=(
        Published("LeakyReLU", (83.96,)),
        Published("PReLU", (83.98,)),
        Published("BN behind", (87.50,)),
        Published("BN before", (86.60,)),
        Effect("BN behind", "BN before", (0.90,)),
    ),
    seeds=5,
    minutes=4.2,
)
