"""Knowledge distillation: learn from the teacher's softened probabilities beside the labels.

Paper:    Distilling the Knowledge in a Neural Network (Hinton, Vinyals, Dean; 2015) https://arxiv.org/abs/1503.02531
Code:     https://github.com/szagoruyko/attention-transfer (`distillation` in its utils)
Equation: L = (1 - a) CE(y, softmax(z)) + a T^2 KL(softmax(v / T) || softmax(z / T)),   z student, v teacher
Shapes:   logits z, v (N, K) -> scalar, mean over the batch
Defaults: T = 4, a = .9 (the code above, for CIFAR; Bag of Tricks: T = 20, its GluonCV script a = .5)
Differs:  KL instead of cross-entropy in the soft term: the same gradient, and 0 where the student agrees.
"""

from pathlib import Path

import lightning as L
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks._schedule import Rate, Schedule, rate_now, rate_values
from callbacks._trick import Trick, needs_on_loss, needs_range
from callbacks.distillation._teacher import Teacher
from zoo import Step
from zoo._base import classes_of


def soft_loss(z: Tensor, v: Tensor, T: float) -> Tensor:
    """T^2 KL(softmax(v / T) || softmax(z / T)), mean over the batch. z, v (N, K) -> scalar."""
    z, v = z.float(), v.float()
    return F.kl_div(F.log_softmax(z / T, 1), F.log_softmax(v / T, 1), reduction="batchmean", log_target=True) * T**2


class KnowledgeDistillation(Trick):
    """Adds the teacher's word to whatever the loss is before it in the list.

    Args:
        teacher: a trained network, images -> logits, or the path of a zoo model's checkpoint. Stays out of checkpoints.
        T: temperature, > 0, or a `Schedule`.
        weight: a, share of the teacher's term, in (0, 1], or a `Schedule`.
        normalization: (mean, std) that the teacher was trained with, if the data has others.

    Raises:
        ValueError: for an argument out of its range, or a teacher of other classes.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    def __init__(
        self, teacher: nn.Module | str | Path, T: Rate = 4.0, weight: Rate = 0.9, normalization: tuple | None = None
    ):
        for value in rate_values(T):
            needs_range(self, "T", value, 0, float("inf"), open_low=True)
        for value in rate_values(weight):
            needs_range(self, "weight", value, 0, 1, open_low=not isinstance(weight, Schedule))
        self.teacher, self.T, self.weight, self.normalization = teacher, T, weight, normalization
        self._teacher = Teacher(teacher, normalization)

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        needs_on_loss(self, model)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._teacher.join(trainer, model, classes_of(model))

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        T, a = rate_now(self.T, model.trainer), rate_now(self.weight, model.trainer)
        step.loss = (1 - a) * step.loss + a * soft_loss(step.logits, self._teacher.logits(step), T)
