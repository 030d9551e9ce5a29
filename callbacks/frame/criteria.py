"""Information criteria of a trained network: AIC and BIC, from the plain cross-entropy of its training images."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn

from zoo.frame.evaluation import evaluating
from zoo.frame.outputs import over_views

CAVEAT = "only differences between models on the same data mean anything"


class Criteria(NamedTuple):
    """Two criteria, and what they are made of.

    Attributes:
        parameters: p, those that are trained.
        images: N.
        loss: mean cross-entropy in nats.
    """

    parameters: int
    images: int
    loss: float

    @property
    def aic(self) -> float:
        """2 p + 2 N CE."""
        return 2 * self.parameters + 2 * self.images * self.loss

    @property
    def bic(self) -> float:
        """p ln N + 2 N CE."""
        return self.parameters * math.log(self.images) + 2 * self.images * self.loss

    def __str__(self) -> str:
        p, n = self.parameters, self.images
        penalty = f"; with {p:,} parameters for {n:,} images, the penalty decides alone" if p >= n else ""
        of = f"{p:,} parameters, {n:,} training images without augmentation, cross-entropy {self.loss:.4f}"
        return f"AIC {self.aic:,.1f}, BIC {self.bic:,.1f} ({of}): {CAVEAT}{penalty}"


@torch.no_grad()
def measure(trainer: L.Trainer, model: L.LightningModule, batches: Iterable[Any]) -> Criteria | None:
    """Measure the criteria in evaluation mode; None for targets that are not one class an image.

    Args:
        trainer: moves the batches to the device.
        model: with its trained parameters.
        batches: all training images [images, targets (N,)], without augmentation, each once.
    """
    total, count = 0.0, 0
    with evaluating(model):
        for batch in batches:
            batch = trainer.precision_plugin.convert_input(batch)
            images, targets = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            if targets.ndim != 1 or targets.is_floating_point():
                return None
            with trainer.precision_plugin.forward_context():
                logits = over_views(model, images).float()
            total += F.cross_entropy(logits, targets, reduction="sum").item()
            count += len(targets)
    return Criteria(count_trained(model), count, total / count) if count else None


def count_trained(model: nn.Module) -> int:
    """Count the parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
