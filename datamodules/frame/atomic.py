"""Replace files atomically: write a temporary file, flush it to disk, rename it. A crash leaves the old or the new."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MANY = 100  # from this number of files on, flush the whole disk at once, not file by file


@contextmanager
def replace(path: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary path to write to; it replaces `path` if the block ends without an error.

    It is `.<name>.<process>.part` in the same folder, and is deleted after an error, such as a full disk.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) atomically."""
    with replace(path) as file:
        file.write(text.encode())


def save_array(file: IO[bytes], array: NDArray[Any]) -> None:
    """Write a .npy. A full disk raises an OSError with its number, which numpy's own error lacks."""
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, header)
    file.write(np.ascontiguousarray(array).data)


def publish(new: Path, path: Path) -> None:
    """Flush a complete file or folder to disk, then rename it to its final name."""
    files = [new] if new.is_file() else [p for p in new.rglob("*") if p.is_file()]
    if len(files) > MANY and hasattr(os, "sync"):
        os.sync()
    else:
        for file in files:
            with open(file, "rb") as content:
                os.fsync(content.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk; do nothing on systems that cannot."""
    with suppress(OSError, AttributeError):
        number = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(number)
        finally:
            os.close(number)
