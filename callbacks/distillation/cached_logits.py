"""Cached logits: distillation whose teacher answers from files, once the same run has asked it before.

Paper:    A Fast Knowledge Distillation Framework for Visual Recognition (Shen, Xing; ECCV 2022)
          https://arxiv.org/abs/2112.01528
Code:     none used
Equation: that of knowledge distillation; v of (epoch, batch, process) is computed once and read from then on
Shapes:   a file an epoch and process: logits (N, K) of each batch, and (N,) numbers by which its images are known again
Defaults: T = 4, weight = .9 (a), kind = "soft": those of `KnowledgeDistillation`
Differs:  the paper keeps random crops with their labels and trains on these crops. Here the labels are all that must be
          kept: images, crops and mixing follow from (seed, epoch, batch), so that a run with the same seed, data, batch
          size and data tricks asks the same again: another student, another rate, a run that was stopped. One answer
          for an image without augmentation would be smaller, but the teacher must see what the student sees.
"""

import hashlib
import os
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from callbacks.distillation.knowledge import Kind, KnowledgeDistillation
from callbacks.frame.schedule import Rate
from callbacks.frame.teacher import Source
from zoo import Step


def marks(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N,): a number of each image, of about unit size, which a flip or a shift changes."""
    x = images.flatten(1).float()
    return (x * (0.7 * torch.arange(x.shape[1], device=x.device)).sin()).sum(1) / x.shape[1] ** 0.5


def fingerprint(network: torch.nn.Module, *seen: object) -> str:
    """16 letters that another network, other weights or another way to see the images change."""
    digest = hashlib.sha256(repr(seen).encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


class CachedLogits(KnowledgeDistillation):
    """`KnowledgeDistillation` that keeps the teacher's logits in files, and asks it only for those that are not there.

    For several students of one teacher on the same data with the same seed. All end with the same bits as without
    files. The files take N K numbers an epoch: 2 MB for CIFAR-10, 5 GB for ImageNet.

    Args:
        teacher: a trained network, images -> logits, the path of a zoo model's checkpoint, `"hf:USER/REPO"` with one,
            or `"timm:NAME"`. Stays out of checkpoints.
        path: folder for the files, made where it is not there; several teachers can share it.
        T: temperature, > 0, or a `Schedule`.
        weight: a, share of the teacher's term, in (0, 1], or a `Schedule`.
        normalization: (mean, std) that the teacher was trained with, if the data has others.
        kind: "soft": the teacher's probabilities; "hard": its decisions, and T does not matter.
        image_size: side in pixels to which images are resized for the teacher, if it was trained on others.

    Raises:
        ValueError: for an argument out of its range, or a teacher of other classes; in training, if the images are not
            those whose logits were kept: at the first batch of an epoch, or else at the epoch's end.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    def __init__(
        self,
        teacher: Source,
        path: str | Path,
        T: Rate = 4.0,
        weight: Rate = 0.9,
        normalization: tuple | None = None,
        kind: Kind = "soft",
        image_size: int | None = None,
    ):
        super().__init__(teacher, T, weight, normalization, kind, image_size)
        self.path = path

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self._print = fingerprint(self._teacher.network, self._teacher.normalization, self._teacher.image_size)
        self._file, self._kept, self._new, self._wrong = None, {}, {}, None

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        name = f"{self._print}-epoch{trainer.current_epoch}-{trainer.global_rank}of{trainer.world_size}.pt"
        if self._file != (file := Path(self.path) / name):  # a run resumed in mid-epoch begins here
            self._file, self._new, self._wrong = file, {}, None
            self._kept = torch.load(file, map_location=model.device, weights_only=True) if file.exists() else {}
        self._batch = batch_idx

    def _answer(self, step: Step) -> Tensor:
        mine = marks(step.images)
        if self._batch not in self._kept:
            self._new[self._batch] = super()._answer(step), mine
            return self._new[self._batch][0]
        logits, theirs = self._kept[self._batch]
        same = mine.shape == theirs.shape and torch.isclose(mine, theirs, rtol=1e-3, atol=1e-3).all()
        wrong = ~torch.as_tensor(same, device=mine.device)
        first, self._wrong = self._wrong is None, wrong if self._wrong is None else self._wrong | wrong
        if first or mine.shape != theirs.shape:  # later ones at the epoch's end: asking waits for the device
            self._check()
        return logits

    def _check(self) -> None:
        if self._wrong is not None and self._wrong:
            raise ValueError(
                f"CachedLogits: the images are not those of the logits in {self.path}: take the same seed, data, batch "
                "size and data tricks, or another folder"
            )

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._check()
        if self._new:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(self._kept | self._new, part := self._file.with_suffix(".part"))
            os.replace(part, self._file)
