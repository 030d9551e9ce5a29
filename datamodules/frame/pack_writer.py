"""Make a packed folder (`pack`) of any images, completely or not at all."""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.atomic import publish, save_array
from datamodules.frame.decode import leave_out, name_some
from datamodules.frame.download import is_full, lock
from datamodules.frame.header import FORMAT, VERSION, Header
from datamodules.frame.prepared_folder import FILES, read_existing, write_header
from datamodules.frame.shrink import attempt, shrink_all
from datamodules.frame.source import Source

SAMPLE = 16  # images a part that are used to estimate the total size
Sources = dict[str, tuple[Source, Tensor]]  # "train", "val", "test" -> images and int64 targets


def write(
    folder: str | Path,
    parts: Sources,
    classes: tuple[str, ...],
    *,
    side: int = 256,
    quality: int = 90,
    skip_unreadable: bool = False,
    threads: int | None = None,
    **about: Any,
) -> Header:
    """Make a folder of images whose short side is at most `side`; it gets its name when it is complete.

    Until then it is `.<name>.preparing` in the same parent folder; that of a killed process is deleted. If two
    processes write the same folder, the second waits for the first and uses its result.

    Args:
        folder: does not exist, or holds what this call would write.
        parts: "train", "val", "test" -> (Source, int64 targets).
        classes: names.
        side, quality: of the JPEGs, as in `shrink`.
        skip_unreadable: skip unreadable or damaged images, with a warning.
        threads: None for one per core; the bytes are the same for any number.
        about: further entries of the header.

    Returns:
        The header.

    Raises:
        ValueError: the folder holds something else, an argument is out of range, or some images are unreadable. All are
            tried first, so that the error can count and name them.
        OSError: the disk is too small, by an estimate before it starts, or when it is full. Nothing is left.
    """
    if side < 1 or not 1 <= quality <= 100:
        raise ValueError(f"size must be at least 1 pixel and quality in 1 to 100, got {side} and {quality}")
    folder = Path(folder).expanduser()
    source = {part: len(targets) for part, (_, targets) in parts.items()}
    about = {"side": side, "quality": quality, "classes": list(classes), "source": source, **about}
    with lock(folder):
        if folder.exists():
            return read_existing(folder, about, "packed")
        needed = estimate(parts, side, quality)
        if shutil.disk_usage(folder.parent).free < needed:
            raise small_disk_error(folder, needed)
        return _write_new(folder, _Writer(side, quality, skip_unreadable, threads), parts, about, needed)


def _write_new(folder: Path, writer: "_Writer", parts: Sources, about: dict[str, Any], needed: int) -> Header:
    new = folder.with_name(f".{folder.name}.preparing")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        header = writer.write(new, parts, about)
        publish(new, folder)
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if is_full(error):
            raise small_disk_error(folder, needed) from error
        raise
    return header


def estimate(parts: Sources, side: int, quality: int) -> int:
    """Estimate the total size in bytes from a few images, plus 5 % because images differ."""
    total = 0.0
    for source, targets in parts.values():
        some = range(0, len(source), max(1, len(source) // SAMPLE))
        sizes = [len(data) for i in some if isinstance(data := attempt(source, i, side, quality), bytes)]
        total += 1.05 * len(targets) * (sum(sizes) / max(1, len(sizes)) + 16)
    return int(total)


def small_disk_error(folder: Path, needed: int) -> OSError:
    """Return the error of a disk that is too small for a folder."""
    free = shutil.disk_usage(folder.parent).free
    return OSError(
        errno.ENOSPC,
        f"the disk of {folder} is too small: about {needed / 1e9:.3g} GB are needed and {free / 1e9:.3g} GB are free; "
        "nothing was left there: make room, or choose another place",
    )


class _Writer:
    """Append images to images.bin, and remember their offsets."""

    def __init__(self, side: int, quality: int, skip_unreadable: bool, threads: int | None):
        self.side, self.quality, self.threads = side, quality, threads
        self.skip_unreadable = skip_unreadable
        self.sizes: list[int] = []
        self.targets: list[NDArray[np.int64]] = []
        self.digest = hashlib.sha256()

    def write(self, folder: Path, parts: Sources, about: dict[str, Any]) -> Header:
        """Write all parts, the index and the header, and return that."""
        self.folder = folder
        spans = {part: self.add(part, *found) for part, found in parts.items()}
        return self.finish({"format": FORMAT, "version": VERSION, **about, "parts": spans})

    def add(self, part: str, source: Source, targets: Tensor) -> list[int]:
        """Write a part. Return the indices of its first image and of the one after its last."""
        first, problems = len(self.sizes), {}
        with open(self.folder / "images.bin", "ab") as file:
            for i, data in shrink_all(source, self.side, self.quality, f"preparing {part}", self.threads):
                if isinstance(data, Exception):
                    problems[i] = data
                elif self.skip_unreadable or not problems:
                    file.write(data)
                    self.digest.update(data)
                    self.sizes.append(len(data))
        good = self._leave_out_unreadable(part, source, problems)
        self.targets.append(targets[good].numpy())
        return [first, len(self.sizes)]

    def _leave_out_unreadable(self, part: str, source: Source, problems: dict[int, Exception]) -> Tensor:
        reasons = {source.name(i): str(error.__cause__ or error) for i, error in problems.items()}
        if problems and not self.skip_unreadable:
            raise ValueError(
                f"{len(problems)} of {len(source)} images of {part} cannot be used: {name_some(reasons)}: repair or "
                "delete them, or leave them out with skip_unreadable (--skip-unreadable)"
            )
        return leave_out(problems.keys(), reasons, len(source))

    def finish(self, header: dict[str, Any]) -> Header:
        """Write the index and, last, the header."""
        numbers = np.cumsum([0, *self.sizes], dtype=np.int64), np.concatenate(self.targets).astype(np.int64)
        for name, array in zip(FILES[1:], numbers, strict=True):
            with open(self.folder / name, "wb") as file:
                save_array(file, array)
        digests = {name: hashlib.sha256((self.folder / name).read_bytes()) for name in FILES[1:]}
        digests["images.bin"] = self.digest
        files = {n: [os.path.getsize(self.folder / n), f"sha256:{digests[n].hexdigest()}"] for n in FILES}
        return write_header(self.folder, {**header, "storage": "packed", "files": files})
