"""A teacher: a trained network beside the student, never in its files, averages or optimizers."""

from pathlib import Path

import lightning as L
import timm
import torch
import torch.nn.functional as F
from huggingface_hub import hf_hub_download
from torch import Tensor, nn

import zoo
from zoo import Step
from zoo._checks import classes_of

Source = nn.Module | str | Path


def trained(source: Source) -> nn.Module:
    """The network that a trick's `teacher=` names.

    Args:
        source: the network itself; the path of a checkpoint that a `Trainer` wrote from a model of the zoo;
            `"hf:USER/REPO"`, such a checkpoint on the Hub, named `model.ckpt` as `zoo run --save` does;
            `"timm:NAME"`, with timm's published weights.

    Raises:
        FileNotFoundError, ValueError: as `zoo.load`.
    """
    if isinstance(source, nn.Module):
        return source
    kind, _, name = str(source).partition(":")
    if kind == "timm":
        return zoo.Classifier(timm.create_model(name, pretrained=True))
    return zoo.load(hf_hub_download(name, "model.ckpt") if kind == "hf" else source)


class Teacher:
    """Answers without gradient, in eval mode, on the student's device and under its precision.

    Args:
        source: see `trained`.
        normalization: (mean, std), each of 3 numbers, that the teacher was trained with; None: what timm publishes
            for `"timm:NAME"`, else as the data comes.
        image_size: side in pixels of the square images that the teacher wants; None: likewise.
    """

    def __init__(self, source: Source, normalization: tuple | None = None, image_size: int | None = None):
        self.network = trained(source)
        published = {} if isinstance(source, nn.Module) else getattr(self._inner(), "pretrained_cfg", {})
        if published and normalization is None:
            normalization = (published["mean"], published["std"])
        self.normalization = normalization
        self.image_size = image_size or (published["input_size"][-1] if published else None)

    def _inner(self) -> nn.Module:
        return getattr(self.network, "network", self.network)

    def join(self, trainer: L.Trainer, student: L.LightningModule, num_classes: int | None) -> None:
        """Moves beside the student. Raises ValueError if the two disagree about the classes."""
        own = None if num_classes is None else classes_of(self.network)
        if own != num_classes:
            raise ValueError(f"the teacher knows {own} classes, the student {num_classes}: they must be the same")
        self.network.requires_grad_(False).eval().to(student.device)
        self.scale, self.shift = self._renormalise(trainer, student.device)

    def _renormalise(self, trainer: L.Trainer, device: torch.device) -> tuple[Tensor, Tensor]:
        """x of the data -> scale x + shift of the teacher: (x std + mean - mean_t) / std_t."""
        if self.normalization is None:
            return torch.ones((), device=device), torch.zeros((), device=device)
        data = trainer.datamodule
        if getattr(data, "mean", None) is None or getattr(data, "whitening", None) is not None:
            raise ValueError("a teacher with its own normalisation needs a data module with `mean` and `std`")
        columns = [torch.tensor(v, device=device).view(3, 1, 1) for v in (data.mean, data.std, *self.normalization)]
        mean, std, teacher_mean, teacher_std = columns
        return std / teacher_std, (mean - teacher_mean) / teacher_std

    def see(self, images: Tensor) -> Tensor:
        """Images as the data gives them -> as the teacher knows them. Differentiable."""
        if self.normalization is not None:
            images = images * self.scale + self.shift
        side = self.image_size
        if side is not None and images.shape[-2:] != (side, side):
            images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        return images

    @torch.no_grad()
    def logits(self, step: Step) -> Tensor:
        """(N, K) for the step's images. Tricks that share a teacher and what it sees share its answer."""
        key = f"teacher {id(self.network)} {self.normalization} {self.image_size}"
        if key not in step.extras:
            step.extras[key] = self.network(self.see(step.images))
        return step.extras[key]
