"""DropConnect: drop weights with probability p, instead of features.

Paper:    Regularization of Neural Networks using DropConnect (Wan, Zeiler, Zhang, LeCun, Fergus; ICML 2013)
          https://proceedings.mlr.press/v28/wan13.html
Code:     https://cs.nyu.edu/~wanli/dropc (the authors' page, whose formulas these are)
Equation: y = ((M W) x) / (1 - p) + b,  M ~ Bernoulli(1 - p) for each weight, and each example or batch
Shapes:   linear layers: (N, D) -> (N, K), (N, L, D) -> (N, L, K);  convolutions: (N, C, H, W) -> (N, K, H', W')
Defaults: p = .5, where = "classifier": ours; per = "sample", the paper's
Differs:  evaluation is the plain layer, which is the mean of the training passes. The paper keeps the scale for
          evaluation, and draws the layer's outputs there from a Gaussian of the same mean and variance. Biases are
          never dropped. Masks for each example take N times the layer's weights in memory: `per="batch"` for large
          layers.
"""

from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from callbacks.dropout.guided_dropout import Guided
from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import draws, scale_by_rate
from callbacks.frame.needs import Choice, Need
from callbacks.frame.pair_needs import Claims
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where

Per = Literal["sample", "batch"]
PLAIN = (nn.Linear.forward, nn.Conv2d.forward)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply weights of each example to features: (N, D) or (N, L, D) by (N, K, D) -> (N, K) or (N, L, K)."""
    y = x.flatten(1, -2) @ weight.mT if x.ndim > 2 else (x[:, None] @ weight.mT)
    y = y.view(*x.shape[:-1], weight.shape[1])
    return y if bias is None else y + bias.to(y.dtype)


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d) -> Tensor:
    """Apply kernels of each example to maps, as one convolution in groups.

    Args:
        x: (N, C, H, W).
        weight: (N, K, C / groups, h, w).
        bias: (K,), or None.
        layer: has stride, padding, dilation and groups.

    Returns:
        (N, K, H', W').
    """
    n, k = weight.shape[:2]
    joined, kernels, groups = x.reshape(1, -1, *x.shape[2:]), weight.flatten(0, 1), n * layer.groups
    y = F.conv2d(joined, kernels, None, layer.stride, layer.padding, layer.dilation, groups)
    y = y.view(n, k, *y.shape[2:])
    return y if bias is None else y + bias.to(y.dtype)[:, None, None]


def masked_layer(layer: nn.Module, x: Tensor, scale: Tensor) -> Tensor:
    """Return a layer's output with its weights multiplied.

    Args:
        layer: linear or convolution; one with `GuidedDropout`'s strengths applies them.
        x: the layer's input.
        scale: of the weight's shape, or with the batch before it: (N, K, ...).
    """
    x = layer.scale_by_strength(x) if isinstance(layer, Guided) else x
    assert isinstance(layer, nn.Linear | nn.Conv2d), "named_modules has refused all others"
    weight = layer.weight * scale.to(layer.weight.dtype)
    per_example = weight.ndim > layer.weight.ndim
    if isinstance(layer, nn.Conv2d):
        conv = convolution(x, weight, layer.bias, layer) if per_example else layer._conv_forward(x, weight, layer.bias)
        return conv
    return (linear if per_example else F.linear)(x, weight, layer.bias)


class DropConnect(FeatureDropout):
    """Drop weights of the classifier, or of the linear layers and convolutions of `where`.

    The layer's own weights are never touched: in training its output is computed again from masked ones.

    Args:
        p: probability to be dropped, in (0, 1), or a `Schedule`.
        where: "classifier", or paths of layers.
        per: "sample" or "batch": one mask for each example, or one for all.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError: as `FeatureDropout`; for a second DropConnect.
        TypeError: for a module that is no linear layer or convolution, or one that computes in its own way.
    """

    picture = "connections"
    needs: ClassVar[tuple[Need, ...]] = (Claims("drop weights"), Choice("per", get_args(Per)))
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"p": 0.2, "per": "batch", "participation": 0.5},)
    taxonomy = "architecture"
    draws_once = True

    def __init__(self, p: Rate = 0.5, where: Where = "classifier", per: Per = "sample", participation: Rate = 1.0):
        super().__init__(p, where, participation)
        self.per = per
        if where in (None, "input"):
            raise ValueError(
                f"{type(self).__name__}: where={where!r} has no weights: name layers, or leave the classifier"
            )

    def named_modules(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        found = super().named_modules(model)
        for name, layer in found:
            if (
                not isinstance(layer, Guided)
                and type(layer).forward not in PLAIN
                or getattr(layer, "padding_mode", "zeros") != "zeros"
            ):
                raise TypeError(
                    f"{type(self).__name__} drops weights of nn.Linear and zero-padded nn.Conv2d, and {name!r} is a "
                    f"{type(layer).__name__}: name other layers, where='path.of.layer'"
                )
        return found

    def register_hook(self, name: str, module: nn.Module, factor: float) -> RemovableHandle:
        """Register the hook before those of other tricks, which act on its output."""
        return module.register_forward_hook(partial(self._connect, name, factor), prepend=True)

    def _connect(self, name: str, factor: float, layer: nn.Module, inputs: tuple, y: Tensor) -> Tensor:
        if not self.is_active(layer):
            return y
        self._place, p, shape = name, self._now * factor, layer.get_parameter("weight").shape
        u = draws(y, len(y), *shape) if self.per == "sample" else self.shared_draws(y, *shape)
        return masked_layer(layer, inputs[0], scale_by_rate(u >= p, p))
