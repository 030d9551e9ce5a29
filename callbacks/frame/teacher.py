"""A teacher: a trained network beside the student, never in its files, averages or optimizers."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import lightning as L
import timm
import torch
from huggingface_hub import hf_hub_download
from torch import Tensor, nn

import zoo
from callbacks.frame.feature_hooks import FeatureHooks
from callbacks.frame.model_needs import stage_names, stages_of
from callbacks.frame.resizing import resize
from callbacks.frame.trick import Trick
from zoo import Step
from zoo.frame.checks import classes_of
from zoo.frame.run import datamodule_of

Source = nn.Module | str | Path
Normalization = tuple[Sequence[float], Sequence[float]]  # mean and std, 3 numbers each


def load_teacher(source: Source) -> nn.Module:
    """Return the network that a trick's `teacher=` names.

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


class Before(NamedTuple):
    """The state of a network before it became a teacher: modes, trained parameters, device."""

    training: list[tuple[nn.Module, bool]]
    trained: list[nn.Parameter]
    device: torch.device | None

    @classmethod
    def of(cls, network: nn.Module) -> "Before":
        parameters = [*network.parameters()]
        modes = [(module, module.training) for module in network.modules()]
        return cls(modes, [p for p in parameters if p.requires_grad], parameters[0].device if parameters else None)

    def restore(self, network: nn.Module) -> None:
        for module, mode in self.training:
            module.training = mode
        for p in self.trained:
            p.requires_grad_(True)
        if self.device is not None:
            network.to(self.device)


LENT: WeakKeyDictionary[nn.Module, list[Before]] = WeakKeyDictionary()  # one entry per trick that uses it


class Teacher:
    """A network that answers without gradient, in eval mode, on the student's device and in its own precision.

    It is a teacher from `join` to `leave`. When the last trick that shares it leaves, the network is restored.

    Args:
        source: see `load_teacher`.
        normalization: (mean, std), each of 3 numbers, that the teacher was trained with; None: timm's published
            values for `"timm:NAME"`, else those of the data.
        image_size: side in pixels of the teacher's square images; None: likewise.
    """

    _joined = False

    def __init__(self, source: Source, normalization: Normalization | None = None, image_size: int | None = None):
        self.network = load_teacher(source)
        published = {} if isinstance(source, nn.Module) else getattr(self._inner(), "pretrained_cfg", {})
        if published and normalization is None:
            normalization = (published["mean"], published["std"])
        self.normalization = normalization
        self.image_size = image_size or (published["input_size"][-1] if published else None)

    def _inner(self) -> nn.Module:
        return getattr(self.network, "network", self.network)

    def join(self, trainer: L.Trainer, student: L.LightningModule, num_classes: int | None) -> None:
        """Move the teacher to the student's device. Raises ValueError if the two disagree about the classes."""
        own = None if num_classes is None else classes_of(self.network)
        if own != num_classes:
            raise ValueError(f"the teacher knows {own} classes, the student {num_classes}: they must be the same")
        self.scale, self.shift = self._renormalise(trainer, student.device)
        if not self._joined:
            lent = LENT.setdefault(self.network, [])
            lent.append(lent[0] if lent else Before.of(self.network))
            self._joined = True
        self.network.requires_grad_(False).eval().to(student.device)

    def leave(self) -> None:
        """Restore the network, unless another trick still uses it."""
        if self._joined:
            self._joined = False
            before = LENT[self.network].pop()
            if not LENT[self.network]:
                del LENT[self.network]
                before.restore(self.network)

    def _renormalise(self, trainer: L.Trainer, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return scale and shift of (x std + mean - mean_t) / std_t = scale x + shift, x from the data."""
        if self.normalization is None:
            return torch.ones((), device=device), torch.zeros((), device=device)
        data = datamodule_of(trainer)
        if getattr(data, "mean", None) is None or getattr(data, "whitening", None) is not None:
            raise ValueError("a teacher with its own normalisation needs a data module with `mean` and `std`")
        columns = [torch.tensor(v, device=device).view(-1, 1, 1) for v in (data.mean, data.std, *self.normalization)]
        mean, std, teacher_mean, teacher_std = columns
        return std / teacher_std, (mean - teacher_mean) / teacher_std

    def see(self, images: Tensor) -> Tensor:
        """Convert the data's images to the teacher's precision, normalisation and size. Differentiable."""
        if (weight := next(self.network.parameters(), None)) is not None:
            images = images.to(weight.dtype)
        if self.normalization is not None:
            images = images * self.scale + self.shift
        return images if self.image_size is None else resize(images, (self.image_size, self.image_size))

    @torch.no_grad()
    def logits(self, step: Step) -> Tensor:
        """Return the logits (N, K) of the step's images. Tricks with the same teacher and inputs share one pass."""
        key = f"teacher {id(self.network)} {self.normalization} {self.image_size}"
        if key not in step.extras:
            step.extras[key] = self.network(self.see(step.images))
        logits: Tensor = step.extras[key]
        return logits


class Taught(Trick):
    """Abstract: a trick with a teacher, `_teacher`, which it restores after the fit."""

    picture = "diagram"
    partner: ClassVar[str] = "teacher"  # of the student in the picture
    meets: ClassVar[tuple[tuple[str, str, str, str], ...]] = ()  # level, the student's tensor, term, the partner's
    _teacher: Teacher

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().leave(trainer, model)
        self._teacher.leave()


class ComparesStages(Taught):
    """Abstract: a trick that compares features of student and teacher.

    Attributes:
        stages: names of the stages to compare; None: as `common_stages` says.
    """

    stages: tuple[str, ...] | None

    def common_stages(self, model: L.LightningModule) -> list[str]:
        """Return the stages asked for, or all that student and teacher both have. Raises as `stage_names`."""
        theirs = stage_names(self, self._teacher.network, self.stages)
        common = [name for name in stage_names(self, model, self.stages) if name in theirs]
        if not common:
            raise ValueError(f"{type(self).__name__}: student and teacher have no stage name in common: rename stages")
        return common

    def join_at(self, names: Sequence[str], trainer: L.Trainer, model: L.LightningModule) -> None:
        """Move the teacher to the student's device, and record the features of these stages of both."""
        self._teacher.join(trainer, model, None)  # features need no common classes
        self._student_hooks = FeatureHooks(stages_of(model), names)
        self._teacher_hooks = FeatureHooks(stages_of(self._teacher.network), names)
        self.keep_hooks(self._student_hooks, self._teacher_hooks)
