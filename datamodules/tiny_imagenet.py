"""Tiny-ImageNet: 100,000 + 10,000 images of 64 x 64 pixels in 200 of ImageNet's classes.

Paper: Tiny ImageNet Visual Recognition Challenge (Le, Yang; Stanford CS231n, 2015),
       http://vision.stanford.edu/teaching/cs231n/reports/2015/pdfs/yle_project.pdf
"""

import os
import warnings
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame import atomic
from datamodules.frame.decode import decode, in_threads, name_some, square
from datamodules.frame.download import fetch, full_disk_error, is_full, lock
from datamodules.frame.memory import MemoryData, check_memory
from datamodules.frame.options import FlipOptions
from datamodules.frame.tiny_layout import FINGERPRINT, NAME, Layout, find

URL = f"http://cs231n.stanford.edu/{NAME}.zip"
# No checksum is published. This one, of the 248,100,043 bytes that the address gives, stands in many public
# repositories, as does its MD5, 90528d7ca1a48142e341f4ef8d21d0de (Avalanche's and others' readers).
CHECKSUM = "sha256:6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"


class TinyImageNet(MemoryData):
    """Tiny-ImageNet: 100,000 + 10,000 images of 64 x 64 pixels in 200 classes; as many as `wnids.txt` lists.

    The official test images have no labels. So, as in the literature, results are reported on the official validation
    images: they are the *test* set here, and `val_split` takes validation images from the training images. Classes are
    in the order of their wnids, as torchvision's `ImageFolder` has them, with the first of their names; `wnids` has
    the numbers. A few images are grey: their three colours are equal.

    The zip is read without unpacking. Decoded images are saved beside it, in two .npy files (1.4 GB).

    Args:
        root: folder of the data; `tiny-imagenet-200.zip` is downloaded into it if absent (248 MB). The unpacked folder
            may stand there instead, or `root` may be that folder, or any zip of its layout.
        batch_size: images a batch and process.
        padding: pixels of black for the random crop. Default: an eighth of the side, as for CIFAR; papers have 4 or 8.
        options: `flip` (True), `cutout`, `transform`, `channels`, `mean`, `std`, `val_split` (0.1), `split_seed`,
            `num_workers`, as in `MemoryData` and `ImageData`.

    Raises:
        RuntimeError: the data is not there, or cannot be downloaded.
        ValueError: images, annotations and classes do not belong together.
    """

    image_size = 64
    mean = (0.4802, 0.4481, 0.3975)  # over all pixels of the training images
    std = (0.2770, 0.2691, 0.2821)

    def __init__(
        self, root: str | Path = "data", batch_size: int = 128, *, padding: int = 8, **options: Unpack[FlipOptions]
    ):
        super().__init__(batch_size, padding=padding, **options)
        self.root = Path(root).expanduser()

    def prepare_data(self) -> None:
        """Download missing or damaged files, and decode images not decoded yet; one process does it for all."""
        archive = self.root / f"{NAME}.zip"
        decoded = any(self.root.glob(f"{NAME}-train-*.npy"))  # then the archive has been checked
        if (place := find(self.root)) is None or (place == archive and not decoded):
            fetch(URL, archive, CHECKSUM)
        for part in ("train", "test"):
            cache = self._cache(part)
            if not cache.exists() and is_writable(cache.parent):
                with lock(self._layout.place.with_name(f"{self._layout.place.stem}-{part}")):
                    if not cache.exists():
                        keep(self._decode(part), cache)

    @cached_property
    def _layout(self) -> Layout:
        place = find(self.root)
        if place is None:
            raise RuntimeError(
                f"TinyImageNet is not in {self.root}: call prepare_data(), which downloads it (248 MB), or put "
                f"{NAME}.zip or the folder {NAME}, with its wnids.txt, there"
            )
        return Layout(place)

    @property
    def wnids(self) -> tuple[str, ...]:
        """WordNet's numbers of the classes."""
        return self._layout.wnids

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # read at first use, not an attribute
        """The first of each class's names."""
        return self._layout.classes

    def read(self, part: str) -> tuple[NDArray[np.uint8], Tensor] | None:
        """Return the images of "train" or "test" (the official validation images), uint8 (n, 64, 64, 3)."""
        if part == "val":
            return None
        targets = torch.tensor([target for _, target in self._layout.images(part)])
        cache = self._cache(part)
        if cache.exists():
            try:
                images = np.load(cache, mmap_mode="c")  # "c": writes, if any, stay in memory
                if images.shape == (len(targets), 64, 64, 3) and images.dtype == np.uint8:
                    return images, targets
            except (ValueError, EOFError):
                pass
            warnings.warn(f"{cache} is damaged: decoding the images again; delete it", stacklevel=2)
        return self._decode(part), targets

    # ---- decoding

    def _decode(self, part: str) -> NDArray[np.uint8]:
        files = [name for name, _ in self._layout.images(part)]
        check_memory(len(files), 64, 3 if self.flip else 2)
        images = np.empty((len(files), 64, 64, 3), np.uint8)

        def one(i: int) -> None:
            images[i] = square(decode(self._layout.read(files[i]), files[i]), 64, resized=False)

        if problems := in_threads(one, len(files), f"decoding {part}"):
            reasons = {files[i]: str(error.__cause__ or error) for i, error in problems.items()}
            raise ValueError(
                f"{len(problems)} of {len(files)} images of {self._layout.place} cannot be used: {name_some(reasons)}: "
                "delete it and fetch it again"
            )
        return images

    def _cache(self, part: str) -> Path:
        """Return the path of the decoded images; its name identifies their source."""
        place = self._layout.place
        return place.with_name(f"{place.stem}-{part}-{self._layout.fingerprint(part)}.npy")


def keep(images: NDArray[np.uint8], path: Path) -> None:
    """Write a .npy under its final name when it is complete, and delete older ones, with another fingerprint."""
    try:
        with atomic.replace(path) as file:
            atomic.save_array(file, images)
    except BaseException as error:
        if is_full(error):
            raise full_disk_error(path) from error
        raise
    for old in path.parent.glob(f"{escape(path.stem[:-FINGERPRINT])}{'?' * FINGERPRINT}.npy"):
        if old != path:
            old.unlink()


def is_writable(folder: Path) -> bool:
    """Return whether files may be made there; not where nobody may write, which does not stop root."""
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)
