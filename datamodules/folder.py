"""Your own images, in one folder per class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.bands import BAND_SUFFIXES
from datamodules.frame.decode import SUFFIXES, decode_all
from datamodules.frame.decode import image_size as size_of
from datamodules.frame.files import FileData
from datamodules.frame.image_set import ImageSet
from datamodules.frame.memory import MemoryData, MemorySet, check_memory, convert_channels, measure_to_divide
from datamodules.frame.options import Colours, Flip, SplitOptions
from datamodules.frame.source import Paths
from datamodules.frame.tree import find_images, find_parts, flat_images
from datamodules.transforms import Spec


class ImageFolder(FileData):
    """Your own images, in one folder per class: `root/train/<class>/*.jpg`, or only `root/<class>/*.jpg`.

    `root/test/<class>/` and `root/val/<class>/` are optional. The names `training`, `valid`, `validation` and `testing`
    also count, in upper or lower case. Without `val/`, `val_split` takes validation images from the training images;
    without `test/` there is no test. Images directly in `test/` have no class: `Trainer.predict` gets them. Classes are
    the names of the folders in alphabetical order. Images may be in subfolders, and links are followed. JPEG, PNG, BMP,
    GIF, WebP, TIFF, PPM, PGM, PBM and AVIF are read as RGB; EXIF's orientation is ignored. Images of other formats are
    skipped with a warning.

    Args:
        root: the folder.
        batch_size: images a batch and process.
        cache: None decodes the files again in each epoch, in worker processes: for photographs, as many as the disk
            holds. "memory" decodes them once, at their final size, and augments them a batch at a time, many times
            faster: for small images.
        image_size: side in pixels. From files, 224 by default, and crops are resized to it. In memory, the centre
            square of an image of another size is cropped and resized, also to a larger size; by default all images must
            have the size of the first.
        skip_unreadable: skip unreadable images, with a warning that counts and names them; if False, they are an error.
        transform: of training images: from files "inception" by default; in memory none (applied after crop and flip).
        evaluation: from files only, "center" by default.
        padding, border, flip, cutout: in memory only; by default 4, "black", True (wrong for letters and digits), none.
        channels: 3 by default, or 1 for grey images.
        white: the value of white in grey images of more than 8 bits, as in `FileData`.
        scale: from files only: read images without conversion to bytes, also multi-band TIFF and .npy, as in
            `FileData`.
        mean, std: ImageNet's by default from files, measured in memory.
        num_workers: one worker per core by default from files, none in memory.
        options: `val_split` (0.1, or `val/` where it exists), `like` and more, as in `ImageData`.

    Raises:
        ValueError: no classes, a class without images, classes in `test/` or `val/` that are not in `train/`; an option
            of the other `cache`.
    """

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 64,
        *,
        cache: str | None = None,
        image_size: int | None = None,
        skip_unreadable: bool = False,
        transform: Spec | None = None,
        evaluation: Spec | None = None,
        padding: int | None = None,
        border: str | None = None,
        flip: Flip | None = None,
        cutout: int | None = None,
        channels: int | None = None,
        white: float | None = None,
        scale: float | Sequence[float] | None = None,
        mean: Colours | None = None,
        std: Colours | None = None,
        num_workers: int | None = None,
        **options: Unpack[SplitOptions],
    ):
        check_cache(cache, evaluation, {"padding": padding, "border": border, "flip": flip, "cutout": cutout})
        super().__init__(
            batch_size,
            image_size=image_size,
            transform="inception" if transform is None or cache else transform,
            evaluation=evaluation,
            skip_unreadable=skip_unreadable,
            channels=channels,
            white=white,
            scale=scale,
            mean=mean,
            std=std,
            num_workers=0 if num_workers is None and cache else num_workers,
            **options,
        )
        self.root, self.cache = Path(root).expanduser(), cache
        self.resized = image_size is not None or self.like is not None
        self.memory: _FolderInMemory | None = None
        self._find()
        if cache is not None:
            if self.scale is not None:
                raise ValueError("scale is an option of cache=None: images in memory are bytes; see also Arrays")
            if mean is None and self.like is None:
                self.mean = self.std = None  # measured
            given = {"padding": padding, "border": border, "flip": flip, "cutout": cutout, "transform": transform}
            self._keep({name: value for name, value in given.items() if value is not None})

    def _keep(self, options: dict[str, Any]) -> None:
        """Load the images into memory. `options`: of `MemoryData`."""
        self.image_size = self.image_size if self.resized else self._size_of_the_first()
        self.memory = _FolderInMemory(self, options)

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """The preprocessing: see `FileData`; in memory, the centre square resized to `image_size`."""
        return super().preprocessing if self.memory is None else self.middle_square

    def _find(self) -> None:
        parts = find_parts(self.root)
        if "val" in parts and (self.val_split is not None or self.folds is not None):
            raise ValueError(
                f"{parts['val']} is the validation set: leave out val_split and folds, or remove the folder"
            )
        suffixes = SUFFIXES if self.scale is None else BAND_SUFFIXES
        self.unlabelled = flat_images(parts["test"], suffixes) if "test" in parts else []
        labelled = {part: path for part, path in parts.items() if part != "test" or not self.unlabelled}
        self.files = {part: find_images(path, suffixes) for part, path in labelled.items()}
        self.classes = tuple(self.files["train"])
        for part, found in self.files.items():
            if unknown := sorted(set(found) - set(self.classes)):
                raise ValueError(f"{parts[part]} has classes missing from {parts['train']}: {', '.join(unknown)}")

    def _size_of_the_first(self) -> int:
        first = self.files["train"][self.classes[0]][0]
        height, width = size_of(first)
        if height != width:
            raise ValueError(f"{first} has {height} x {width} pixels, which is not square: give image_size")
        return height

    def list_images(self, part: str) -> tuple[list[Path], Tensor] | None:
        """Return files and targets int64 (n,) of "train", "val" or "test"; None if there is no such part."""
        if part not in self.files:
            return None
        found = self.files[part]
        counts = torch.tensor([len(found.get(name, ())) for name in self.classes])
        paths = [path for name in self.classes for path in found.get(name, ())]
        return paths, torch.arange(len(counts)).repeat_interleave(counts)

    def source(self, part: str) -> tuple[Paths, Tensor] | None:
        """Return files and targets of a part."""
        found = self.list_images(part)
        return None if found is None else (Paths(found[0]), found[1])

    def prepare_data(self) -> None:
        """Check the files if unreadable ones are skipped; in memory, decoding finds them."""
        if self.memory is None:
            super().prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Create the sets of a stage, and measure mean and standard deviation of images in memory."""
        super().setup(stage)
        if self.mean is None:
            train_set = self._load_training()
            assert isinstance(train_set, MemorySet)
            self.mean, self.std = measure_to_divide(train_set.images)

    def image_set(self, part: str) -> ImageSet | None:
        """Return the set of a part, augmented for "train"."""
        return super().image_set(part) if self.memory is None else self.memory.image_set(part)

    def prediction_set(self) -> tuple[ImageSet, Tensor]:
        """Return the images of `test/` without classes, with targets -1, and their indices; if none, as `ImageData`."""
        if not self.unlabelled:
            return super().prediction_set()
        targets = torch.full((len(self.unlabelled),), -1)
        images: ImageSet
        if self.memory is None:
            images = self.file_set(Paths(self.unlabelled), targets)
        else:
            pixels, good = self.memory.decode(self.unlabelled)
            images = MemorySet(convert_channels(pixels, self.channels), targets[good])
        return images, torch.arange(len(images))

    def _no_test_images(self) -> str:
        if self.unlabelled:
            return f"the {len(self.unlabelled):,} images of {self.unlabelled[0].parent} have no class: predict them"
        return super()._no_test_images()


class _FolderInMemory(MemoryData):
    """Images of a folder in memory, all of one size."""

    def __init__(self, folder: ImageFolder, options: dict[str, Any]):
        super().__init__(folder.batch_size, channels=folder.channels, num_workers=folder.num_workers, **options)
        self.folder, self.classes, self.image_size = folder, folder.classes, folder.image_size

    def read(self, part: str) -> tuple[NDArray[np.uint8], Tensor] | None:
        """Return the decoded images of a part, and their classes."""
        found = self.folder.list_images(part)
        if found is None:
            return None
        paths, targets = found
        images, good = self.decode(paths, 1 if part != "train" else 3 if self.flip else 2)
        return images, targets[good]

    def decode(self, paths: list[Path], copies: int = 1) -> tuple[NDArray[np.uint8], Tensor]:
        """Decode files to uint8 (n, S, S, 3). Return them and the indices of the readable files.

        Args:
            paths: the files.
            copies: number of copies of the images that memory must hold while they are sorted.
        """
        side = self.image_size
        check_memory(len(paths), side, copies)
        images = np.empty((len(paths), side, side, 3), np.uint8)
        good = decode_all(paths, images, self.folder.resized, self.folder.skip_unreadable, self.folder.white)
        return (images, good) if len(good) == len(paths) else (images[good.numpy()], good)


def check_cache(cache: str | None, evaluation: Spec | None, memory_only: dict[str, Flip | str | int | None]) -> None:
    """Raise a ValueError for an unknown `cache`, and for options of the other one."""
    if cache not in (None, "memory"):
        raise ValueError(f'cache must be None (files, decoded each epoch) or "memory", got {cache!r}')
    if cache is not None and evaluation is not None:
        raise ValueError("evaluation is an option of cache=None: images in memory are evaluated as they are")
    if cache is None and (given := [name for name, value in memory_only.items() if value is not None]):
        raise ValueError(f'{given[0]} is an option of cache="memory": choose that, or augment files by transform=')
