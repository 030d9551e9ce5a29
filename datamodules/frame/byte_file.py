"""Parts of a file, read by position: safe in forked workers, and an error where a memory map would kill the process."""

import os
from pathlib import Path


class ByteFile:
    """A file open for reading at any position.

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
        """Bytes."""
        return os.fstat(self.number).st_size

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end`. Raise a ValueError if the file ends before."""
        data = os.pread(self.number, end - start, start) if end > start else b""
        if len(data) < end - start:
            raise ValueError(f"{self.path} is cut short: it ends before byte {end:,}")
        return data
