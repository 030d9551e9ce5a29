"""Read files that may be truncated meanwhile: an error, where a memory map would kill the process."""

import mmap
import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


class ByteFile:
    """A file open for reading at any position, also in forked workers.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return os.fstat(self.number).st_size

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end`. Raise a ValueError if the file is shorter."""
        data = os.pread(self.number, end - start, start) if end > start else b""
        if len(data) < end - start:
            raise ValueError(f"{self.path} is cut short: it ends before byte {end:,}")
        return data


def check_map(array: NDArray[Any]) -> None:
    """Raise a ValueError if the file of this memory map was truncated: reading would kill the process."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None) if not isinstance(base, memoryview) else base.obj
    if base is not None and base.size() < len(base):
        raise ValueError(
            f"the file of images was cut short while in use: {base.size():,} bytes instead of {len(base):,}: copy or "
            "make it again"
        )
