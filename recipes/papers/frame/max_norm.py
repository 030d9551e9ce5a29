"""A bound on the weights into each unit, with which dropout is often trained."""

from typing import Any

import lightning as L
import torch
from torch import nn

from callbacks.frame.trick import Trick


class MaxNorm(Trick):
    """After each step, shrink the weights into a unit to a norm where they are longer.

    Args:
        most: longest norm in the first linear layer, the second, ..., > 0; layers without one are free.
    """

    def __init__(self, *most: float):
        self.most = most

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shrink the weights."""
        layers = (module for module in model.modules() if isinstance(module, nn.Linear))
        for layer, most in zip(layers, self.most, strict=False):
            layer.weight.renorm_(2, 0, most)
