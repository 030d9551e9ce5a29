"""Files replaced, never overwritten: written beside, on the disk in full, then renamed. A crash leaves old or new."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MANY = 100  # files from which on the whole disk is written out at once, not each by itself


@contextmanager
def replace(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write to, which takes the place of `path` when the block ends without an error.

    Meanwhile it is called `.<name>.<process>.part`, beside; after an error, such as a full disk, nothing is left of it.
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
    """Write a text file (UTF-8) in place of another, or of none."""
    with replace(path) as file:
        file.write(text.encode())


def save_array(file: IO[bytes], array: NDArray[Any]) -> None:
    """Write a .npy. Raise an OSError of a full disk as such: numpy's own has no number."""
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, header)
    file.write(np.ascontiguousarray(array).data)


def publish(new: Path, path: Path) -> None:
    """Rename a file or folder that is complete to its final name, once all of it is on the disk."""
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
    """Put a folder's list of names on the disk; where a system cannot do that, leave it."""
    with suppress(OSError, AttributeError):
        number = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(number)
        finally:
            os.close(number)
