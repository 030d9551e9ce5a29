"""Frames of the two kinds of loss tricks: those that replace the cross-entropy, and those that add a term."""

from typing import ClassVar

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.needs import Need, Range
from callbacks.frame.pair_needs import Claims, NothingAddedBefore
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.trick import Trick
from zoo import Step
from zoo.frame.checks import classes_of


class Replacing(Trick):
    """Abstract. Replaces the cross-entropy, also that of auxiliary heads. A subclass defines `loss`."""

    picture = "loss"
    one_label = True
    needs: ClassVar[tuple[Need, ...]] = (Claims("replace the cross-entropy"), NothingAddedBefore())

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (N, K) and targets, classes (N,) or probabilities (N, K); a scalar."""
        raise NotImplementedError

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        step.loss = step.over_heads(lambda logits: self.loss(logits, step.targets))


class Adding(Trick):
    """Abstract. Adds `weight`, a number > 0 or a `Schedule`, times a term to the loss. A subclass defines `term`."""

    picture = "loss"
    needs: ClassVar[tuple[Need, ...]] = (Range("weight", 0, off_at_low=True),)
    weight: Rate

    def term(self, model: L.LightningModule, step: Step) -> Tensor:
        """Return the term of one step without the weight, a scalar."""
        raise NotImplementedError

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        step.loss = step.loss + rate_now(self.weight, model.trainer) * self.term(model, step)


def per_class(trick: Trick, name: str, model: L.LightningModule) -> Tensor:
    """Return an argument of K numbers on the model's device. Raises ValueError if there are not K."""
    values, k = torch.tensor(getattr(trick, name), dtype=torch.float32, device=model.device), classes_of(model)
    if len(values) != k:
        raise ValueError(f"{type(trick).__name__}: {name} has {len(values)} numbers, and there are {k} classes")
    return values
