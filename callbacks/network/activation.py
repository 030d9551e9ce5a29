"""Activation: replace a network's activations by another nonlinearity, by name.

Paper:    sigmoid, tanh: Efficient BackProp (LeCun et al. 1998) https://doi.org/10.1007/3-540-49430-8_2;
          relu: https://proceedings.mlr.press/v15/glorot11a.html; relu6: https://arxiv.org/abs/1704.04861;
          leaky_relu: Rectifier Nonlinearities Improve Neural Network Acoustic Models (Maas et al. 2013);
          prelu: https://arxiv.org/abs/1502.01852; elu: https://arxiv.org/abs/1511.07289;
          selu: https://arxiv.org/abs/1706.02515; gelu: https://arxiv.org/abs/1606.08415;
          silu, swish (with beta): https://arxiv.org/abs/1710.05941; hard_swish: https://arxiv.org/abs/1905.02244;
          mish: https://arxiv.org/abs/1908.08681
Code:     torch.nn
Equation: sigmoid 1 / (1 + e^-x);  tanh;  relu max(0, x);  relu6 min(relu, 6);  leaky_relu max(x, slope x);
          prelu max(0, x) + a min(0, x), a learned from 0.25;  elu x or e^x - 1 below 0;  selu 1.0507 x, or
          1.7581 (e^x - 1) below 0;  gelu x Phi(x);  gelu_tanh x / 2 (1 + tanh(sqrt(2 / pi) (x + .044715 x^3)));
          gelu_sigmoid x sigmoid(1.702 x);  silu x sigmoid(x);  swish x sigmoid(beta x);
          hard_swish x relu6(x + 3) / 6;  mish x tanh(ln(1 + e^x))
Shapes:   any, unchanged; prelu and a learned beta add one number per module
Defaults: kind = "gelu": ours; slope = .01 (Maas et al.; darknet has .1, GANs .2); beta = 1, learned = False: silu; the
          other constants are the papers'
Differs:  Every activation module changes except `Sigmoid` and `Hardsigmoid`, which are gates. A function called inside
          a `forward` stays. A module that a block runs more than once keeps one slope for all calls (prelu: the paper's
          channel-shared form), or one beta. selu comes without its initialisation and alpha dropout. Weight decay also
          acts on a learned number, unless `NoBiasDecay` takes it out.
"""

from collections.abc import Callable

import lightning as L
from torch import nn

from callbacks.frame.needs import Choice, Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.swish import Swish
from callbacks.frame.trick import Trick
from zoo.frame.surgery import operate, operation, replace

ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": lambda slope=0.01: nn.LeakyReLU(slope),
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "gelu_sigmoid": lambda: Swish(1.702),
    "silu": nn.SiLU,
    "swish": Swish,
    "hard_swish": nn.Hardswish,
    "mish": nn.Mish,
}
CHANGED = tuple(type(make()) for name, make in ACTIVATIONS.items() if name != "sigmoid")
OWN = {"slope": ("leaky_relu", 0.01), "beta": ("swish", 1.0), "learned": ("swish", False)}  # whose, and the default


@operation("Activation")
def swap_activations(network: nn.Module, kind: str, **options: float) -> None:
    """Replace every activation module by one of this kind, in place. Raises TypeError for a network without any.

    Args:
        network: any.
        kind: a name of `ACTIVATIONS`.
        options: slope, beta or learned, as in `Activation`.
    """
    found = [(path, m) for path, m in network.named_modules(remove_duplicate=False) if isinstance(m, CHANGED)]
    if not found:
        raise TypeError(
            f"{type(network).__name__} has no activation modules to change (torch.relu inside a forward cannot be): "
            "take Activation out, or give the network nn.ReLU() modules"
        )
    device = next((p.device for p in network.parameters()), None)
    new = {id(old): ACTIVATIONS[kind](**options).to(device).train(old.training) for _, old in found}
    for path, old in found:
        replace(network, path, new[id(old)])  # a module that is used twice stays one module


class Activation(Trick):
    """Swap the activations before training. Checkpoints remember it: `zoo.load` gives the changed network.

    Args:
        kind: "sigmoid" "tanh" "relu" "relu6" "leaky_relu" "prelu" "elu" "selu" "gelu" "gelu_tanh" "gelu_sigmoid"
            "silu" "swish" "hard_swish" "mish".
        slope: of leaky_relu below 0, in [0, 1].
        beta: of swish, >= 0; where it starts, if it is learned.
        learned: learn swish's beta, one for each module.

    Raises:
        TypeError: for a network without activation modules.
        ValueError: for another kind, an argument that belongs to another kind, or a second Activation.
    """

    picture = "modules"
    needs = (
        Claims("choose the activations"),
        Choice("kind", tuple(ACTIVATIONS)),
        Range("slope", 0, 1),
        Range("beta", 0),
    )
    examples = (
        {"kind": "prelu"},
        {"kind": "leaky_relu", "slope": 0.1},
        {"kind": "swish", "beta": 1.5, "learned": True},
    )

    def __init__(self, kind: str = "gelu", slope: float = 0.01, beta: float = 1.0, learned: bool = False):
        self.kind, self.slope, self.beta, self.learned = kind, slope, beta, learned
        self._options = {name: getattr(self, name) for name, (_, usual) in OWN.items() if getattr(self, name) != usual}
        for name in self._options:
            if OWN[name][0] != kind:
                raise ValueError(f"Activation: {name} belongs to {OWN[name][0]!r}, not to {kind!r}: take it out")

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            operate(model, "Activation", kind=self.kind, **self._options)
