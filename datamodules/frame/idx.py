"""Find or download MNIST's idx files, check their content, and read them, compressed or not."""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.download import fetch
from datamodules.frame.memory import MemoryData
from datamodules.frame.options import AugmentOptions, Flip

FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")}
FILES["test"] = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
LARGEST = 1 << 27  # largest content in bytes: a compressed file may inflate to any size
BYTES = 8  # idx's code of uint8


def read_content(path: Path) -> bytes:
    """Return the content of a file, decompressed if it is gzip's. Raise a ValueError if it is damaged or too large."""
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.open(path) as file:
            data = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and fetch it again") from error
    if len(data) > LARGEST:
        raise ValueError(f"{path} unpacks to more than {LARGEST:,} bytes: it is not a file of MNIST")
    return data


def parse_idx(data: bytes, name: str) -> NDArray[np.uint8]:
    """Return the array of an idx file of bytes.

    The file holds two bytes of 0, the type, the number of dimensions, each dimension as four bytes (big-endian), and
    the numbers.

    Args:
        data: the content.
        name: of the file, for messages.

    Raises:
        ValueError: it is not an idx file of bytes, or its length is wrong.
    """
    if len(data) < 4 or data[:3] != bytes([0, 0, BYTES]):
        raise ValueError(f"{name} is not an idx file of bytes")
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if len(data) != start + int(np.prod(shape, dtype=object)):
        raise ValueError(f"{name} has {len(data):,} bytes, which does not match its header: {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


class IdxData(MemoryData):
    """Abstract. A subclass names torchvision's data set, for its addresses, and the files' checksums.

    Args:
        root: the folder. Files are searched in it and in `<name>/raw` below it, as in torchvision; missing files are
            downloaded there.
        batch_size: images a batch and process.
        padding: width of the black border for the random crop, in pixels; 0 for none.
        flip: mirror each image left to right, as in `MemoryData`.
        image_size: side in pixels, at least 28; a black border is added.
        options: `channels` (3: equal colours; 1: grey), `cutout`, `transform`, `mean`, `std`, `val_split`,
            `split_seed`, `num_workers`, as in `MemoryData` and `ImageData`.
    """

    reader: type[torchvision.datasets.MNIST]
    checksums: dict[str, str]  # name of a file -> sha256 of its content
    elsewhere: tuple[str, ...] = ()  # folders of system packages

    def __init__(
        self,
        root: str | Path = "data",
        batch_size: int = 128,
        *,
        padding: int = 0,
        flip: Flip = False,
        image_size: int = 28,
        **options: Unpack[AugmentOptions],
    ):
        super().__init__(batch_size, padding=padding, flip=flip, **options)
        if image_size < 28:
            raise ValueError(f"image_size must be at least 28 pixels, the size of the images, got {image_size}")
        self.root, self.image_size = Path(root).expanduser(), image_size

    @property
    def raw(self) -> Path:
        """The folder for downloads."""
        return self.root / type(self).__name__ / "raw"

    def find(self, name: str) -> Path | None:
        """Return the file of this name, compressed or not, if its content has the right checksum; else None."""
        below = (self.root, self.raw.parent, self.raw, *(self.root / x.lstrip("/") for x in self.elsewhere))
        for folder in (*below, *map(Path, self.elsewhere)):
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file() and self._content(path) is not None:
                    return path
        return None

    def _content(self, path: Path) -> bytes | None:
        """Return the content; None if its checksum is wrong."""
        try:
            data = read_content(path)
        except ValueError:  # damaged
            return None
        return data if hashlib.sha256(data).hexdigest() == self.checksums[path.name.removesuffix(".gz")] else None

    def prepare_data(self) -> None:
        """Download what is missing or damaged; one process does it for all, others wait."""
        for name, checksum in self.reader.resources:
            if self.find(name.removesuffix(".gz")) is None:
                fetch([f"{mirror}{name}" for mirror in self.reader.mirrors], self.raw / name, f"md5:{checksum}")

    def read(self, part: str) -> tuple[NDArray[np.uint8], Tensor] | None:
        """Return the grey images of "train" or "test", uint8 (n, S, S, 1), and their classes."""
        if part == "val":
            return None
        images, labels = (self._read(name) for name in FILES[part])
        margin = self.image_size - images.shape[1]
        before, after = margin // 2, margin - margin // 2
        images = np.pad(images, ((0, 0), (before, after), (before, after)))
        return images[..., None], torch.from_numpy(labels.astype(np.int64))

    def _read(self, name: str) -> NDArray[np.uint8]:
        path = self.find(name)
        if path is None:
            raise RuntimeError(
                f"{type(self).__name__} is missing or damaged in {self.root}: call prepare_data(), which downloads it, "
                f"or put {name}.gz there"
            )
        return parse_idx(read_content(path), str(path))
