"""Replace files atomically: write a temporary file, flush it to disk, rename it. A crash leaves the old or the new."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replace(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a temporary path to write to; it replaces `path` if the block ends without an error.

    It is `.<name>.<process>.part` in the same folder, and is deleted after an error, such as a full disk.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) atomically."""
    with replace(path) as file:
        file.write(text.encode())


def publish(new: Path, path: Path) -> None:
    """Flush a complete file to disk, then rename it to its final name."""
    with open(new, "rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk; do nothing on systems that cannot."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
