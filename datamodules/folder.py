"""Images of one's own: a folder a class."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.frame.decode import SUFFIXES, decode_all
from datamodules.frame.decode import image_size as size_of
from datamodules.frame.files import FileData
from datamodules.frame.memory import MemoryData, measure
from datamodules.frame.source import Paths

MEMORY_ONLY = ("padding", "flip", "cutout")
FILES_ONLY = ("evaluation",)


class ImageFolder(FileData):
    """Images of one's own, in a folder a class: `root/train/<class>/*.jpg`, or only `root/<class>/*.jpg`.

    `root/test/<class>/` and `root/val/<class>/` may stand beside `root/train/`: without `val/`, `val_split` takes
    validation images from the training images; without `test/` there is no test. Classes are the names of the folders
    in alphabetical order; images may lie deeper, and files that are no images are passed over. JPEG, PNG, BMP, GIF,
    WebP and TIFF are read, as RGB; EXIF's orientation is ignored.

    Args:
        root: the folder.
        batch_size: images a batch and process.
        cache: None decodes the files anew each epoch, in worker processes: photographs, as many as the disk holds.
            "memory" decodes them once, at their final size, and augments them a batch at a time, many times faster:
            small images.
        image_size: side in pixels. By default 224 from files, where crops of any size are resized to it. In memory the
            middle square of an image of another size is cut out and resized (made larger, too); by default all images
            must have the size of the first.
        skip_unreadable: leave out images that cannot be read, with a warning that counts and names them; otherwise one
            is an error.
        options: from files `transform`, `evaluation`, `mean` and `std` (ImageNet's), `num_workers`, as in `FileData`;
            in memory `padding` (4), `flip` (True; not for letters and digits), `cutout`, `transform`, `mean` and `std`
            (measured), `num_workers` (0), as in `MemoryData`; `val_split` (0.1, or `val/` where it exists) and more as
            in `ImageData`.

    Raises:
        ValueError: no classes, a class without images, classes of `test/` or `val/` that `train/` has not; an option
            that belongs to the other `cache`.
    """

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 64,
        *,
        cache: str | None = None,
        image_size: int | None = None,
        skip_unreadable: bool = False,
        **options,
    ):
        check_options(options, cache)
        self.memory = None
        augmentation = {}
        if cache == "memory":
            names = (*MEMORY_ONLY, "transform")
            augmentation = {name: options.pop(name) for name in names if name in options}
            options = {"num_workers": 0, **options}
        super().__init__(
            batch_size,
            image_size=224 if image_size is None else image_size,
            skip_unreadable=skip_unreadable,
            **options,
        )
        self.root, self.cache, self.resized = Path(root), cache, image_size is not None
        self._find()
        if cache == "memory":
            self.image_size = image_size if self.resized else self._size_of_the_first()
            self.mean, self.std = (self.mean, self.std) if options.get("mean") is not None else (None, None)
            self.memory = _Decoded(self, **augmentation)

    def _find(self) -> None:
        parts = {part: self.root / part for part in ("train", "val", "test") if (self.root / part).is_dir()}
        if "train" not in parts:
            parts = {"train": self.root}
        if "val" in parts and (self.val_split is not None or self.folds is not None):
            raise ValueError(f"{parts['val']} is the validation set: leave out val_split and folds, or the folder")
        self.files = {part: find_images(folder) for part, folder in parts.items()}
        self.classes = tuple(self.files["train"])
        for part, found in self.files.items():
            if unknown := sorted(set(found) - set(self.classes)):
                raise ValueError(f"{parts[part]} has classes that {parts['train']} has not: {', '.join(unknown)}")

    def _size_of_the_first(self) -> int:
        first = self.files["train"][self.classes[0]][0]
        height, width = size_of(first)
        if height != width:
            raise ValueError(f"{first} has {height} x {width} pixels, which is not square: give image_size")
        return height

    def listed(self, part: str) -> tuple[list[Path], Tensor] | None:
        """Files and targets int64 (n,) of "train", "val" or "test"; None if there is no such part."""
        if part not in self.files:
            return None
        found = self.files[part]
        counts = torch.tensor([len(found.get(name, ())) for name in self.classes])
        paths = [path for name in self.classes for path in found.get(name, ())]
        return paths, torch.arange(len(counts)).repeat_interleave(counts)

    def source(self, part: str) -> tuple[Paths, Tensor] | None:
        found = self.listed(part)
        return None if found is None else (Paths(found[0]), found[1])

    def prepare_data(self) -> None:
        """Checks the files if unreadable ones are to be left out; in memory they are found on the way."""
        if self.memory is None:
            super().prepare_data()

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.mean is None:
            self._load_training()
            self.mean, self.std = measure(self.train_set.images)

    def image_set(self, part: str) -> Dataset | None:
        return super().image_set(part) if self.memory is None else self.memory.image_set(part)


class _Decoded(MemoryData):
    """The images of a folder in memory, all of one size."""

    def __init__(self, folder: ImageFolder, **augmentation):
        super().__init__(folder.batch_size, num_workers=folder.num_workers, **augmentation)
        self.folder, self.classes, self.image_size = folder, folder.classes, folder.image_size

    def read(self, part: str) -> tuple[np.ndarray, Tensor] | None:
        found = self.folder.listed(part)
        if found is None:
            return None
        (paths, targets), side = found, self.image_size
        check_memory(len(paths), side, 1 if part != "train" else 3 if self.flip else 2)  # while they are put in order
        images = np.empty((len(paths), side, side, 3), np.uint8)
        good = decode_all(paths, images, self.folder.resized, self.folder.skip_unreadable)
        return (images, targets) if len(good) == len(paths) else (images[good.numpy()], targets[good])


def check_options(options: dict, cache: str | None) -> None:
    """Raises a ValueError for an unknown `cache`, and for options that belong to the other one."""
    if cache not in (None, "memory"):
        raise ValueError(f'cache must be None (files, decoded each epoch) or "memory", got {cache!r}')
    for name in MEMORY_ONLY if cache is None else FILES_ONLY:
        if name in options and cache is None:
            raise ValueError(f'{name} is an option of cache="memory": choose that, or augment files by transform=')
        if name in options:
            raise ValueError(f"{name} is an option of cache=None: images in memory are evaluated as they are")


def find_images(folder: Path) -> dict[str, list[Path]]:
    """Class name -> its image files, both sorted. Hidden files and folders are passed over."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: it should hold one folder of images a class")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise ValueError(f"{folder} has no folders in it: it should hold one folder of images a class")
    found = {name: sorted(p for p in (folder / name).rglob("[!.]*") if p.suffix.lower() in SUFFIXES) for name in names}
    if empty := [name for name in names if not found[name]]:
        raise ValueError(f"no images in {', '.join(str(folder / name) for name in empty)}: fill or delete it")
    return found


def check_memory(count: int, side: int, copies: int) -> None:
    """Raises a MemoryError if `copies` of `count` images of side `side` take more than 4/5 of the free memory."""
    needed, free = copies * count * side * side * 3, free_memory()
    if free is not None and needed > 0.8 * free:
        raise MemoryError(
            f"{count:,} images of {side} x {side} pixels take {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
            "are free: choose cache=None, which reads the files anew each epoch, a smaller image_size (half the side "
            "takes a quarter) or fewer images"
        )


def free_memory() -> int | None:
    """Bytes that can still be taken; None where that cannot be told (not Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
