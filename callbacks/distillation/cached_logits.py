"""Cached logits: knowledge distillation with the teacher's logits read from files that an earlier run has written.

Paper:    A Fast Knowledge Distillation Framework for Visual Recognition (Shen, Xing; ECCV 2022)
          https://arxiv.org/abs/2112.01528
Code:     none
Equation: that of knowledge distillation; v is computed once for each (epoch, batch, process), and read afterwards
Shapes:   one file per epoch and process: logits (N, K) of each batch, and checksums (N,) of its images
Defaults: T = 4, weight = .9 (a), kind = "soft": those of `KnowledgeDistillation`
Differs:  the paper saves random crops with their labels, and trains on these crops. Here, images, crops and mixing are
          functions of (seed, epoch, batch), so that logits are enough: a second run with the same seed, data, batch
          size and data tricks has the same images, also for another student or learning rate, or after a stop. One
          answer per image without augmentation would take less space, but the teacher must see what the student sees.
"""

import hashlib
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from callbacks.distillation.knowledge import Kind, KnowledgeDistillation
from callbacks.frame.pair_needs import ImagesOfTheSeed
from callbacks.frame.schedule import Rate
from callbacks.frame.teacher import Normalization, Source
from zoo import Step
from zoo.frame.weight_files import save


def checksums(images: Tensor) -> Tensor:
    """Return a number of order 1 for each image (N, C, H, W) -> (N,), which changes with a flip or a shift."""
    x = images.flatten(1).float()
    return (x * (0.7 * torch.arange(x.shape[1], device=x.device)).sin()).sum(1) / x.shape[1] ** 0.5


def fingerprint(network: torch.nn.Module, *seen: object) -> str:
    """Return a hash (16 hexadecimal digits) of a network's weights and of `seen`, its preprocessing."""
    digest = hashlib.sha256(repr(seen).encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


class CachedLogits(KnowledgeDistillation):
    """`KnowledgeDistillation` that saves the teacher's logits in files, and runs the teacher only for missing ones.

    For several students of one teacher on the same data with the same seed. Results are bit by bit the same as without
    files. Files take N K numbers per epoch: 2 MB for CIFAR-10, 5 GB for ImageNet.

    Args:
        teacher: a trained network (images -> logits), the path of a zoo model's checkpoint, `"hf:USER/REPO"` with one,
            or `"timm:NAME"`. Kept out of checkpoints.
        path: folder of the files, created if missing; several teachers can share it.
        T: temperature, > 0, or a `Schedule`.
        weight: a, weight of the teacher's term, in (0, 1], or a `Schedule`.
        normalization: (mean, std) of the teacher's training data, if different.
        kind: learn the teacher's probabilities ("soft") or its predicted classes ("hard", which ignores T).
        image_size: side in pixels of the teacher's images, if different.

    Raises:
        ValueError: if an argument is out of its range, or the teacher has other classes. In training, if the images are
            not those of the saved logits: at the first batch of an epoch, or at the epoch's end. With a trick
            that chooses images by the network.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (ImagesOfTheSeed(),)
    examples = ({"T": 2.0},)

    def __init__(
        self,
        teacher: Source,
        path: str | Path,
        T: Rate = 4.0,
        weight: Rate = 0.9,
        normalization: Normalization | None = None,
        kind: Kind = "soft",
        image_size: int | None = None,
    ):
        super().__init__(teacher, T, weight, normalization, kind, image_size)
        self.path = path

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self._print = fingerprint(self._teacher.network, self._teacher.normalization, self._teacher.image_size)
        self._file: Path | None = None
        self._saved: dict[int, tuple[Tensor, Tensor]] = {}  # batch -> logits and checksums
        self._new: dict[int, tuple[Tensor, Tensor]] = {}
        self._wrong: Tensor | None = None

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        name = f"{self._print}-epoch{trainer.current_epoch}-{trainer.global_rank}of{trainer.world_size}.pt"
        if self._file != (file := Path(self.path) / name):  # also where a run is resumed in the middle of an epoch
            self._file, self._new, self._wrong = file, {}, None
            self._saved = torch.load(file, map_location=model.device, weights_only=True) if file.exists() else {}
        self._batch = batch_idx

    def _answer(self, step: Step) -> Tensor:
        sums = checksums(step.images)
        if self._batch not in self._saved:
            self._new[self._batch] = super()._answer(step), sums
            return self._new[self._batch][0]
        logits, saved = self._saved[self._batch]
        same = sums.shape == saved.shape and torch.isclose(sums, saved, rtol=1e-3, atol=1e-3).all()
        wrong = ~torch.as_tensor(same, device=sums.device)
        first, self._wrong = self._wrong is None, wrong if self._wrong is None else self._wrong | wrong
        if first or sums.shape != saved.shape:  # later batches at the epoch's end: a check waits for the device
            self._check()
        return logits

    def _check(self) -> None:
        if self._wrong is not None and self._wrong:
            raise ValueError(
                f"CachedLogits: the images are not those of the logits in {self.path}: use the same seed, data, batch "
                "size and data tricks, or another folder"
            )

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._check()
        if self._new and self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            save(self._saved | self._new, self._file)
