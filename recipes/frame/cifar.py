"""CIFAR-10 for recipes: the official files, or the same images as single files, at 32 or 16 pixels."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules import CIFAR10, ImageData, ImageFolder
from datamodules.frame.download import lock
from datamodules.frame.memory import MemoryData, MemorySet
from zoo import ResNet

TRAINING_IMAGES = 50_000
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std for many published CIFAR networks


@dataclass(frozen=True)
class Cifar:
    """Location of a recipe's CIFAR-10, and precision of its run.

    Args:
        root: folder of CIFAR-10; downloaded into it if absent (170 MB).
        folder: folder of the same images as files, used instead: `train/<class>/*` and `test/<class>/*`.
        precision: of `Trainer`; "bf16-mixed" is faster on processors that support it.
    """

    root: Path = Path("data")
    folder: Path | None = None
    precision: str = "32-true"

    def load(self, batch_size: int, images: int = TRAINING_IMAGES, **options: Any) -> ImageData:
        """Return the data module.

        Args:
            batch_size: images a step.
            images: number of training images, stratified by class.
            options: of `CIFAR10` and `ImageFolder`: `val_split`, `padding`, ...
        """
        options = {"batch_size": batch_size, "val_split": TRAINING_IMAGES - images, **options}
        if self.folder is None:
            return CIFAR10(self.root, **options)
        return ImageFolder(self.folder, cache="memory", **{"mean": CIFAR10.mean, "std": CIFAR10.std, **options})

    @property
    def name(self) -> str:
        """The images' name in a record."""
        return "CIFAR-10" if self.folder is None else self.folder.name

    @property
    def record(self) -> dict[str, str]:
        """Describe the images for a record."""
        return {"data": self.name, "precision": self.precision}


PLAIN, FAST = Cifar(), Cifar(precision="bf16-mixed")


def published_resnet56(weights: Path) -> ResNet:
    """Build a ResNet-56 that others trained on CIFAR-10. It needs images normalised by `IMAGENET`.

    Args:
        weights: a file such as resnet56-4bfd9763.th of github.com/akamaster/pytorch_resnet_cifar10 (BSD 2-clause).
    """
    return ResNet("56", num_classes=10, image_size=32, weights=str(weights))


class SmallCIFAR10(MemoryData):
    """CIFAR-10 at 16 x 16 pixels: each pixel is the mean of 2 x 2 pixels of the original.

    The small images are made once and saved as `cifar10-16px.npz` beside the originals (46 MB). If that folder cannot
    be written, each process makes them again.

    Args:
        root, folder: as in `Cifar`.
        options: `val_split`, `fraction`, `padding` (2: half of that of 32 pixels), ... as in `MemoryData`.
    """

    classes = CIFAR10.classes
    image_size = 16

    def __init__(self, root: Path = Path("data"), folder: Path | None = None, batch_size: int = 64, **options: Any):
        super().__init__(batch_size, **{"padding": 2, **options})
        self.root, self.folder = Path(root), folder and Path(folder)
        self._arrays: dict[str, np.ndarray] | None = None

    @property
    def path(self) -> Path:
        """The file of small images."""
        return (self.folder or self.root) / "cifar10-16px.npz"

    def prepare_data(self) -> None:
        """Make the small images if they are missing; one process does it for all."""
        if self._arrays is not None or self.path.exists():
            return
        try:
            with lock(self.path):
                if not self.path.exists():
                    _write(self.path, self._make())
        except OSError:  # a read-only folder
            self._arrays = self._make()

    def _make(self) -> dict[str, np.ndarray]:
        source = Cifar(self.root, self.folder).load(128, padding=0, flip=False)
        source.prepare_data()
        source.setup()
        found: dict[str, np.ndarray] = {}
        for part, images in (("train", source.train_set), ("test", source.test_set)):
            assert isinstance(images, MemorySet)
            found[part] = halve(images.images)
            found[f"{part}_targets"] = images.targets.numpy().astype(np.uint8)
        return found

    def read(self, part: str) -> tuple[np.ndarray, Tensor] | None:
        """Return the images, uint8 (n, 16, 16, 3), and classes, int64 (n,), of "train" or "test"; None for "val"."""
        if part == "val":
            return None
        if self._arrays is None:
            self.prepare_data()
        if self._arrays is None:
            with np.load(self.path) as file:
                self._arrays = dict(file)
        return self._arrays[part], torch.from_numpy(self._arrays[f"{part}_targets"]).long()


def halve(images: np.ndarray) -> np.ndarray:
    """Average blocks of 2 x 2 pixels, rounding half up: uint8 (n, 2S, 2S, 3) -> uint8 (n, S, S, 3)."""
    n, side = images.shape[0], images.shape[1] // 2
    blocks = images.reshape(n, side, 2, side, 2, 3)
    mean: np.ndarray = ((blocks.sum((2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)
    return mean


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays to a temporary file, then rename it, so that no process reads an incomplete file."""
    part = path.with_name(f".{path.name}.part")
    with open(part, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
