"""Frame of penalties on weights: on trained matrices and kernels, not on biases, norms or scales."""

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.loss import Adding
from zoo import Step
from zoo.frame.sharded import whole


def weights_of(model: nn.Module) -> list[Tensor]:
    """Return the trained parameters of more than one dimension, as `NoBiasDecay` selects them."""
    return [p for p in model.parameters() if p.requires_grad and p.ndim > 1]


def norms(weights: list[Tensor], power: float) -> Tensor:
    """Return the norms of n tensors, (n,), in one kernel where the device has it."""
    return torch.stack(torch._foreach_norm(weights, power))


class Penalty(Adding):
    """Abstract. Adds a term that depends on the weights alone: `penalty`. Finds the weights once per fit."""

    picture = "penalty"
    takes_boxes = True
    reads_weights = True

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._weights = weights_of(model)

    def penalty(self, weights: list[Tensor]) -> Tensor:
        """Return the term of these weights, a scalar."""
        raise NotImplementedError

    def term(self, model: L.LightningModule, step: Step) -> Tensor:
        return whole(self.penalty(self._weights))

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._weights = []
