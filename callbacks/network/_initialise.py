"""Initialisation happens once, on a fresh network: never on weights that were loaded or trained."""

from collections.abc import Callable

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def initialise(trick: L.Callback, model: L.LightningModule, draw: Callable[[torch.Tensor], object]) -> None:
    """Draws the weight of every convolution and linear layer anew, and sets its bias to 0; norms stay as they are."""
    if not is_fresh(trick, model):
        return
    for layer in model.modules():
        if isinstance(layer, LAYERS):
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def is_fresh(trick: L.Callback, model: L.LightningModule) -> bool:
    """Whether the network has neither been trained nor been given weights; says so if it has."""
    fresh = getattr(model, "fresh", True)
    if not fresh:
        rank_zero_info(f"{type(trick).__name__} leaves the network alone: it has been trained, or was given weights")
    return fresh
