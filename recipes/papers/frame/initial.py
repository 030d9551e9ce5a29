"""Initial weights that only rows of papers need: distributions of a fixed width."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from callbacks.frame.initialise import Initialise

Network = TypeVar("Network", bound=nn.Module)


class Normal(Initialise):
    """Draw weights from N(0, std^2).

    Args:
        std: of the weights, > 0.
        bias: of the biases, >= 0; 0: they start at 0.
        truncated: draw again what lies beyond two standard deviations.
    """

    def __init__(self, std: float = 1.0, bias: float = 0.0, truncated: bool = False):
        self.std, self.bias, self.truncated = std, bias, truncated

    def fill(self, weight: Tensor) -> None:
        """Fill a weight in place."""
        if self.truncated:
            nn.init.trunc_normal_(weight, std=self.std, a=-2 * self.std, b=2 * self.std)
        else:
            nn.init.normal_(weight, std=self.std)

    def fill_bias(self, bias: Tensor, weight: Tensor) -> None:
        """Fill the bias beside a weight."""
        nn.init.normal_(bias, std=self.bias)


class HeWeights(Initialise):
    """Draw weights with He's variance for leaky ReLUs, 2 / ((1 + leak^2) fan_in).

    Args:
        leak: slope of the activation below 0.
        uniform: from a uniform distribution; False: from a normal one.
        zero_bias: biases start at 0; False: they stay as torch draws them.
    """

    def __init__(self, leak: float = 0.0, uniform: bool = False, zero_bias: bool = True):
        self.leak, self.uniform, self.zero_bias = leak, uniform, zero_bias

    def fill(self, weight: Tensor) -> None:
        """Fill a weight in place."""
        draw = nn.init.kaiming_uniform_ if self.uniform else nn.init.kaiming_normal_
        draw(weight, a=self.leak)

    def fill_bias(self, bias: Tensor, weight: Tensor) -> None:
        """Fill the bias beside a weight."""
        if self.zero_bias:
            nn.init.zeros_(bias)


@torch.no_grad()
def keras_norms(network: Network, momentum: float = 0.99) -> Network:
    """Give batch norms Keras's epsilon, 1e-3, and its or another momentum, in place; return the network."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum, module.eps = 1 - momentum, 1e-3
    return network
