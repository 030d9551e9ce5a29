"""Images of one's own: a folder a class."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules._decode import SUFFIXES, decode_all
from datamodules._decode import image_size as size_of
from datamodules._memory import MemoryData


class ImageFolder(MemoryData):
    """Images of one's own, in a folder a class: `root/train/<class>/*.jpg`, or only `root/<class>/*.jpg`.

    `root/test/<class>/` and `root/val/<class>/` may stand beside `root/train/`: without `val/`, `val_split` takes
    validation images from the training images; without `test/` there is no test. Classes are the names of the folders
    in alphabetical order; images may lie deeper, and files that are no images are passed over. JPEG, PNG, BMP, GIF,
    WebP and TIFF are read, as RGB; EXIF's orientation is ignored. Every image is decoded once, into memory.

    Args:
        root: the folder.
        batch_size: images a batch and process.
        image_size: side in pixels. Of an image of another size the middle square is cut out and resized (made larger,
            too). None: all images must have the size of the first.
        val_split: as in `ImageData`; None: 0.1, or `val/` where it exists.
        options: `padding` (4), `flip` (True; not for letters and digits), `cutout`, `mean` and `std` (measured),
            `split_seed`, `num_workers`, as in `MemoryData` and `ImageData`.

    Raises:
        ValueError: no classes, a class without images, classes of `test/` or `val/` that `train/` has not.
    """

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 128,
        *,
        image_size: int | None = None,
        val_split: float | int | None = None,
        **options,
    ):
        super().__init__(batch_size, val_split=0.1 if val_split is None else val_split, **options)
        self.root = Path(root)
        parts = {part: self.root / part for part in ("train", "val", "test") if (self.root / part).is_dir()}
        if "train" not in parts:
            parts = {"train": self.root}
        if val_split is not None and "val" in parts:
            raise ValueError(f"{parts['val']} is the validation set: leave out val_split, or the folder")
        self.files = {part: find_images(folder) for part, folder in parts.items()}
        self.classes = tuple(self.files["train"])
        for part, found in self.files.items():
            if unknown := sorted(set(found) - set(self.classes)):
                raise ValueError(f"{parts[part]} has classes that {parts['train']} has not: {', '.join(unknown)}")
        self.resized = image_size is not None
        self.image_size = image_size if self.resized else self._size_of_the_first()

    def _size_of_the_first(self) -> int:
        first = self.files["train"][self.classes[0]][0]
        height, width = size_of(first)
        if height != width:
            raise ValueError(f"{first} has {height} x {width} pixels, which is not square: give image_size")
        return height

    def read(self, part: str) -> tuple[np.ndarray, Tensor] | None:
        if part not in self.files:
            return None
        files = [(path, self.classes.index(name)) for name, paths in self.files[part].items() for path in paths]
        copies = 1 if part != "train" else 3 if self.flip else 2  # while the training images are brought in order
        check_memory(len(files), self.image_size, copies)
        images = np.empty((len(files), self.image_size, self.image_size, 3), np.uint8)
        decode_all([path for path, _ in files], images, self.resized)
        return images, torch.tensor([target for _, target in files])


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
            f"are free: choose a smaller image_size (half the side takes a quarter) or fewer images"
        )


def free_memory() -> int | None:
    """Bytes that can still be taken; None where that cannot be told (not Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
