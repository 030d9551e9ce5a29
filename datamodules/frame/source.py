"""Sources of encoded images: the protocol of data sets of files, and files on a disk."""

import os
from array import array
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from torch import Tensor


class Source(Protocol):
    """Encoded images. A source is sent to each worker, so it is small, and opens its files at the first read."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> bytes:
        """Return the file's content."""

    def name(self, i: int) -> str:
        """Return the path, or the member of an archive, for messages."""

    def size(self, i: int) -> int:
        """Return the size of the file's content in bytes, which detects a changed image."""


class Paths:
    """Image files. Their names are one block of memory, because a list would be copied to each worker."""

    def __init__(self, paths: Sequence[str | Path]):
        names = [os.fsencode(path) for path in paths]
        self._names = b"".join(names)
        self._ends = array("q", accumulate(map(len, names), initial=0))  # reads a single number faster than numpy

    def __len__(self) -> int:
        return len(self._ends) - 1

    def name(self, i: int) -> str:
        return os.fsdecode(self._name(i))

    def read(self, i: int) -> bytes:
        with open(self._name(i), "rb", buffering=0) as file:  # unbuffered: a buffer is one more allocation
            return file.read()

    def size(self, i: int) -> int:
        try:
            return os.stat(self._name(i)).st_size
        except OSError:
            return -1  # a broken link

    def _name(self, i: int) -> bytes:
        return self._names[self._ends[i] : self._ends[i + 1]]


class Chosen:
    """Some images of a source: `indices` (m,) int64."""

    def __init__(self, source: Source, indices: Tensor):
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, i: int) -> str:
        return self.source.name(int(self.indices[i]))

    def read(self, i: int) -> bytes:
        return self.source.read(int(self.indices[i]))

    def size(self, i: int) -> int:
        return self.source.size(int(self.indices[i]))
