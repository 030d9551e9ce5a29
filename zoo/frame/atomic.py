"""Files replaced, never overwritten: written beside, on the disk in full, then renamed. A crash leaves old or new."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replace(path: str | Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes the place of `path` when the block ends without an error.

    Meanwhile it is called `.<name>.<process>.part`, beside; after an error, such as a full disk, nothing is left of it.
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
    _sync_folder(path.parent)


def publish(new: Path, path: Path) -> None:
    """Rename a file that is complete to its final name, once all of it is on the disk."""
    with open(new, "rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk; where a system cannot do that, leave it."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
