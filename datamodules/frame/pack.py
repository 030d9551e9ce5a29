"""Read a data set from one file of resized images, with an index.

    header.json   what it is: sides, classes, parts, checksums
    images.bin    JPEGs, of all parts
    offsets.npy   (n + 1,) int64: image i is images.bin[offsets[i] : offsets[i + 1]]
    targets.npy   (n,) int64

One open file can be read in any order at the speed of the page cache, and only four files need to be copied.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.byte_file import ByteFile
from datamodules.frame.header import AGAIN, Header
from datamodules.frame.prepared_folder import read_header


class Packed:
    """Images of one part; a `Source`. Each process opens the files itself.

    Args:
        folder: of `write`.
        part: "train", "val" or "test".

    Raises:
        ValueError: the folder was not made by `write`, or is incomplete. `verify` also finds changed bytes.
    """

    def __init__(self, folder: str | Path, part: str):
        self.folder = Path(folder).expanduser()
        self.header = read_header(self.folder)
        self.first, self.end = self.header["parts"][part]
        self._open: tuple[ByteFile, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self.end - self.first

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def _files(self) -> tuple[ByteFile, NDArray[np.int64]]:
        if self._open is None:
            self._open = ByteFile(self.folder / "images.bin"), self._offsets()
        return self._open

    def _offsets(self) -> NDArray[np.int64]:
        offsets = load_numbers(self.folder / "offsets.npy")
        rising = len(offsets) > self.end and offsets[0] == 0 and (np.diff(offsets) >= 0).all()
        if not rising or offsets[-1] != self.header["files"]["images.bin"][0]:
            raise ValueError(f"{self.folder / 'offsets.npy'} does not belong to images.bin: {AGAIN}, or copy it again")
        return offsets

    def read(self, i: int) -> bytes:
        """Return the JPEG of an image. Raise a ValueError if the file was truncated."""
        file, offsets = self._files()
        return file.read(int(offsets[self.first + i]), int(offsets[self.first + i + 1]))

    def name(self, i: int) -> str:
        """Return file and index, for messages."""
        return f"{self.folder / 'images.bin'}, image {self.first + i}"

    def size(self, i: int) -> int:
        """Return the size of an image in bytes."""
        offsets = self._files()[1]
        return int(offsets[self.first + i + 1] - offsets[self.first + i])

    @property
    def targets(self) -> Tensor:
        """(n,) int64."""
        return torch.from_numpy(part_of_targets(self.folder / "targets.npy", self.header, self.first, self.end))


def load_numbers(path: Path) -> NDArray[np.int64]:
    """Return a .npy of int64 (n,). Raise a ValueError for anything else."""
    try:
        numbers = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python, which raises many kinds of error
        raise ValueError(f"{path} is damaged ({error}): {AGAIN}, or copy it again") from error
    if not isinstance(numbers, np.ndarray) or numbers.dtype != np.int64 or numbers.ndim != 1:
        raise ValueError(f"{path} does not hold an int64 (n,) array: {AGAIN}, or copy it again")
    return numbers


def part_of_targets(path: Path, header: Header, first: int, end: int) -> NDArray[np.int64]:
    """Return the targets of images `first` to `end`. Raise a ValueError unless each is a class."""
    targets = load_numbers(path)[first:end]
    classes = len(header["classes"])
    if len(targets) != end - first or not ((targets >= 0) & (targets < classes)).all():
        raise ValueError(f"{path} does not hold {end - first} targets in [0, {classes}): {AGAIN}, or copy it again")
    return targets
