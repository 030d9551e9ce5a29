"""The classifier of a network: its last linear layer with K outputs."""

import lightning as L
from torch import nn

from zoo.frame.checks import classes_of


def head_of(trick: L.Callback, model: L.LightningModule) -> nn.Linear:
    """Return the layer called `head`, else the last linear layer with K outputs. Raises TypeError without one.

    Other layers with K outputs, for tokens or a distillation token, may come after the head.
    """
    k, head = classes_of(model), getattr(getattr(model, "network", model), "head", None)
    heads = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == k]
    if not heads:
        raise TypeError(
            f"{type(trick).__name__} reads the features that enter a linear layer with {k} outputs, and "
            f"{type(model).__name__} has none: take a model that ends in such a layer"
        )
    return next((layer for layer in heads if layer is head), heads[-1])
