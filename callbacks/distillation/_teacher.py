"""A teacher: a trained network beside the student, never in its files, averages or optimizers."""

from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn

import zoo
from zoo import Step


class Teacher:
    """Answers without gradient, in eval mode, on the student's device and under its precision.

    Args:
        network: images -> logits; or the path of a checkpoint that a `Trainer` wrote from a model of the zoo.
        normalization: (mean, std), each of 3 numbers, that the teacher was trained with; None: as the data comes.
    """

    def __init__(self, network: nn.Module | str | Path, normalization: tuple | None = None):
        self.network = network if isinstance(network, nn.Module) else zoo.load(network)
        self.normalization = normalization

    def join(self, trainer: L.Trainer, student: L.LightningModule, num_classes: int | None) -> None:
        """Moves beside the student. Raises ValueError if the two disagree about the classes."""
        own = zoo._checks.classes_of(self.network)
        if num_classes is not None and own != num_classes:
            raise ValueError(f"the teacher knows {own} classes, the student {num_classes}: they must be the same")
        self.network.requires_grad_(False).eval().to(student.device)
        self.scale, self.shift = self._renormalise(trainer, student.device)

    def _renormalise(self, trainer: L.Trainer, device: torch.device) -> tuple[Tensor, Tensor]:
        """x of the data -> scale x + shift of the teacher: (x std + mean - mean_t) / std_t."""
        if self.normalization is None:
            return torch.ones((), device=device), torch.zeros((), device=device)
        data = trainer.datamodule
        if data is None:
            raise ValueError("a teacher with its own normalisation needs a data module with `mean` and `std`")
        columns = [torch.tensor(v, device=device).view(3, 1, 1) for v in (data.mean, data.std, *self.normalization)]
        mean, std, teacher_mean, teacher_std = columns
        return std / teacher_std, (mean - teacher_mean) / teacher_std

    @torch.no_grad()
    def logits(self, step: Step) -> Tensor:
        """(N, K) for the step's images. Tricks that share a teacher and its normalisation share its answer."""
        key = f"teacher {id(self.network)} {self.normalization}"
        if key not in step.extras:
            images = step.images if self.normalization is None else step.images * self.scale + self.shift
            step.extras[key] = self.network(images)
        return step.extras[key]
