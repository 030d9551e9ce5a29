"""A bound on the weights into each unit, with which dropout is often trained."""

from typing import Any

import lightning as L
import torch
from torch import nn

from callbacks.frame.needs import Range
from callbacks.frame.trick import Trick


class MaxNorm(Trick):
    """After each step, shrink the weights into a hidden unit to this norm where they are longer.

    Args:
        most: longest norm, > 0.
    """

    needs = (Range("most", 0, open_low=True),)

    def __init__(self, most: float):
        self.most = most

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shrink the weights of all linear layers but the last."""
        *hidden, _ = (module for module in model.modules() if isinstance(module, nn.Linear))
        for layer in hidden:
            layer.weight.renorm_(2, 0, self.most)
