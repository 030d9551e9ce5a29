"""Maxout: take the largest of k linear functions of a unit's inputs, instead of a ReLU of one.

Paper:    Maxout Networks (Goodfellow, Warde-Farley, Mirza, Courville, Bengio; ICML 2013)
          https://arxiv.org/abs/1302.4389, section 3
Code:     none
Equation: h_i = max_j z_ij,  z_ij = x^T W_ij + b_ij,  j of k pieces
Shapes:   linear layers (..., D) -> (..., D'), convolutions (N, C, H, W) -> (N, C', H', W'), as before;  weights and
          biases have k D' rows, the pieces of a unit one after the other
Defaults: k = 2: ours, the smallest number of pieces
Differs:  the paper trains maxout with dropout and a bound on the norm of weights: list `Dropout` beside it; the bound
          is not here. The first piece has the layer's weights; the others are normal draws with the same mean square.
          A norm between layer and activation normalises the maximum. If the activation of a named layer cannot be
          found, as in residual blocks, it stays: a ReLU acts as one more piece, 0.
"""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import Trick
from callbacks.network.activation import CHANGED as ACTIVATIONS
from zoo.frame.surgery import operate, operation
from zoo.layers.layout import match_layout

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def maxout(z: Tensor, pieces: int, dim: int) -> Tensor:
    """Return the largest of every `pieces` neighbours along a dimension, which counts from 0.

    Args:
        z: (..., D' pieces, ...).
        pieces: k.
        dim: the dimension.

    Returns:
        (..., D', ...).
    """
    return z.unflatten(dim, (-1, pieces)).amax(dim + 1)


class MaxoutLinear(nn.Linear):
    """A linear layer of k pieces a unit: weight (k D', D), bias (k D',); (..., D) -> (..., D')."""

    pieces: int

    def forward(self, x: Tensor) -> Tensor:
        return maxout(super().forward(x), self.pieces, x.ndim - 1)


class MaxoutConv2d(nn.Conv2d):
    """A convolution of k pieces a unit: weight (k C', C / groups, h, w), bias (k C',)."""

    pieces: int

    def forward(self, x: Tensor) -> Tensor:
        return match_layout(maxout(super().forward(x), self.pieces, x.ndim - 3), x)


KINDS = {nn.Linear: MaxoutLinear, nn.Conv2d: MaxoutConv2d}


def sequences(network: nn.Module) -> list[str]:
    """Return the paths of layers that an activation follows in an `nn.Sequential`, at once or after a norm."""
    found = [(path, m) for path, m in network.named_modules() if type(m) in KINDS]
    return [path for path, _ in found if activation_after(network, path) is not None]


def activation_after(network: nn.Module, path: str) -> tuple[nn.Sequential, str] | None:
    """Return the sequence that holds a layer, and the name in it of the activation that the layer feeds; else None."""
    parent, _, name = path.rpartition(".")
    sequence = network.get_submodule(parent)
    if not isinstance(sequence, nn.Sequential):
        return None
    names = [*sequence._modules]
    behind = names[names.index(name) + 1 :]
    if behind and isinstance(sequence._modules[behind[0]], NORMS):
        behind = behind[1:]
    found = behind and isinstance(sequence._modules[behind[0]], ACTIVATIONS)
    return (sequence, behind[0]) if found else None


@operation("Maxout")
@torch.no_grad()
def to_maxout(network: nn.Module, pieces: int, where: list[str]) -> None:
    """Give the layers at these paths `pieces` pieces per unit, in place; remove the activations after them."""
    for path in where:
        layer: Any = network.get_submodule(path)  # nn.Linear or nn.Conv2d
        w: Tensor = layer.weight
        drawn = torch.randn(pieces - 1, *w.shape, device=w.device, dtype=w.dtype) * w.square().mean().sqrt()
        layer.__class__ = KINDS[type(layer)]  # its hooks and its name stay
        layer.pieces = pieces
        layer.weight = nn.Parameter(torch.cat([w[None], drawn]).transpose(0, 1).flatten(0, 1))
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.repeat_interleave(pieces))
        if (activation := activation_after(network, path)) is not None:
            setattr(*activation, nn.Identity())


class Maxout(Trick):
    """Turn layers into maxout layers before training. Checkpoints remember it: `zoo.load` gives the changed network.

    Args:
        k: pieces of each unit, at least 2; the layer has k times the weights and multiply-adds.
        where: paths of linear layers and convolutions; None: those that an activation follows in an `nn.Sequential`, as
            in AlexNet and VGG.

    Raises:
        TypeError: for a network without such layers, or a name of something else.
        ValueError: for fewer pieces, a name that is not there, or another trick that chooses the activations.
    """

    picture = "modules"
    needs = (Claims("choose the activations"), Range("k", 2))
    examples = ({"k": 3},)
    taxonomy = "architecture"

    def __init__(self, k: int = 2, where: str | tuple[str, ...] | None = None):
        self.k = k
        self.where = where if isinstance(where, str | None) else tuple(where)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            operate(model, "Maxout", pieces=self.k, where=self._paths(model))

    def _paths(self, model: nn.Module) -> list[str]:
        modules = dict(model.named_modules())
        done = next((a["where"] for name, a in reversed(getattr(model, "surgery", [])) if name == "Maxout"), None)
        if self.where is None:
            paths = done or sequences(model)
            if not paths:
                raise TypeError(
                    f"Maxout: no activation of {type(model).__name__} follows a layer in an nn.Sequential: name the "
                    "layers, where=('path.of.layer', ...)"
                )
            return paths
        paths = [self.where] if isinstance(self.where, str) else [*self.where]
        for path in paths:
            if path not in modules:
                raise ValueError(f"Maxout: {type(model).__name__} has no {path!r} for where: give paths of its modules")
            if type(modules[path]) not in KINDS and path not in (done or ()):
                kind = type(modules[path]).__name__
                raise TypeError(f"Maxout changes nn.Linear and nn.Conv2d, and {path!r} is a {kind}: name other layers")
        return paths
