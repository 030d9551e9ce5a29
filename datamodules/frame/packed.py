"""A whole data set in one file: its images, made small once, one after the other, and an index.

    header.json   what it is: sides, classes, parts, checksums
    images.bin    JPEGs, of all parts
    offsets.npy   (n + 1,) int64: image i is images.bin[offsets[i] : offsets[i + 1]]
    targets.npy   (n,) int64

One open file serves any order of reading at the speed of the page cache, and a copy is the copy of four files.
"""

import errno
import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.atomic import publish, save_array, write_text
from datamodules.frame.byte_file import ByteFile
from datamodules.frame.decode import leave_out, name_some
from datamodules.frame.download import is_full, lock, matches
from datamodules.frame.header import AGAIN, FORMAT, VERSION, Header, parse_header
from datamodules.frame.shrink import attempt, shrink_all
from datamodules.frame.source import Source

FILES = ("images.bin", "offsets.npy", "targets.npy")
SAMPLE = 16  # images a part from which the size of all is estimated
VERIFIED = ".verified.json"
Parts = dict[str, tuple[Source, Tensor]]  # "train", "val", "test" -> images and int64 targets


class Packed:
    """The images of one part; a `Source`. What it holds of the folder is opened in each process by itself.

    Args:
        folder: of `write`.
        part: "train", "val" or "test".

    Raises:
        ValueError: no folder of `write`, or not a whole one. `verify` finds also a byte that has changed.
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
        """Return the JPEG of an image. Raise a ValueError if the file has become shorter."""
        file, offsets = self._files()
        return file.read(int(offsets[self.first + i]), int(offsets[self.first + i + 1]))

    def name(self, i: int) -> str:
        """Return file and number, for messages."""
        return f"{self.folder / 'images.bin'}, image {self.first + i}"

    def size(self, i: int) -> int:
        """Return the bytes of an image."""
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
    except Exception as error:  # numpy parses the header as Python, which fails in many ways
        raise ValueError(f"{path} is damaged ({error}): {AGAIN}, or copy it again") from error
    if not isinstance(numbers, np.ndarray) or numbers.dtype != np.int64 or numbers.ndim != 1:
        raise ValueError(f"{path} has no int64 (n,) in it: {AGAIN}, or copy it again")
    return numbers


def part_of_targets(path: Path, header: Header, first: int, end: int) -> NDArray[np.int64]:
    """Return the targets of images `first` to `end`. Raise a ValueError unless each is a class."""
    targets = load_numbers(path)[first:end]
    classes = len(header["classes"])
    if len(targets) != end - first or not ((targets >= 0) & (targets < classes)).all():
        raise ValueError(f"{path} has not {end - first} targets in [0, {classes}): {AGAIN}, or copy it again")
    return targets


def read_header(folder: Path) -> Header:
    """Read header.json, once it is sure that the other files are as long as when they were written.

    Raises:
        ValueError: the folder was not written here, or is damaged.
    """
    try:
        text = (folder / "header.json").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is no prepared data set, it has no header.json: `zoo prepare` makes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder}/header.json cannot be read ({error}): {AGAIN}, or copy it again") from error
    header = parse_header(text, folder)
    if header["storage"] == "packed" and not set(FILES) <= set(header["files"]):
        raise ValueError(f"{folder}/header.json is damaged (a file is not named): {AGAIN}, or copy it again")
    for name, (size, _) in header["files"].items():
        there = (folder / name).stat().st_size if (folder / name).exists() else 0
        if there != size:
            raise ValueError(f"{folder / name} has {there:,} bytes instead of {size:,}: {AGAIN}, or copy it again")
    return header


def verify(folder: str | Path) -> None:
    """Read all of it, with a progress bar. Raise a ValueError if a byte has changed since it was written."""
    folder = Path(folder).expanduser()
    for name, (_, checksum) in read_header(folder)["files"].items():
        if not matches(folder / name, checksum):
            raise ValueError(f"{folder / name} has changed since it was written: {AGAIN}, or copy it again")


def verify_once(folder: str | Path) -> None:
    """Verify a folder before its first use on this machine, and remember that beside it, in `.verified.json`.

    What is remembered holds as long as header, sizes and times of the files do. Where it cannot be written, each call
    verifies.

    Raises:
        ValueError: a byte has changed since the folder was written.
    """
    folder = Path(folder).expanduser()
    stamps = {name: (folder / name).stat().st_mtime_ns for name in ("header.json", *read_header(folder)["files"])}
    note = json.dumps({"header": hashlib.sha256((folder / "header.json").read_bytes()).hexdigest(), "times": stamps})
    with suppress(OSError, ValueError):
        if (folder / VERIFIED).read_text() == note:
            return
    verify(folder)
    with suppress(OSError):  # a folder that is only for reading
        write_text(folder / VERIFIED, note)


# ---- writing


def write(
    folder: str | Path,
    parts: Parts,
    classes: tuple[str, ...],
    *,
    side: int = 256,
    quality: int = 90,
    skip_unreadable: bool = False,
    threads: int | None = None,
    **about: Any,
) -> Header:
    """Make a folder of images whose short side is at most `side`. It appears when it is complete.

    Meanwhile it is called `.<name>.preparing`, beside; one that was left by a killed process is deleted. Of two
    processes that write the same, the second waits for the first and takes its folder.

    Args:
        folder: must not be there, or be what this call would write.
        parts: "train", "val", "test" -> (Source, int64 targets).
        classes: names.
        side, quality: of the JPEGs, as in `shrink`.
        skip_unreadable: leave out, with a warning, what cannot be read or is damaged.
        threads: None for one a core; the bytes are the same for any number.
        about: what else the header should say.

    Returns:
        The header.

    Raises:
        ValueError: the folder is there and holds something else, an argument is out of range, or some images cannot be
            read: all are tried first, so that it can count and name them.
        OSError: the disk is too small: before it starts, by an estimate, or when it is full. Nothing is left.
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


def read_existing(folder: Path, about: dict[str, Any], storage: str) -> Header:
    """Return the header of a folder that another process has made. Raise a ValueError if it holds something else."""
    with suppress(ValueError):  # no prepared folder, or a damaged one
        header = read_header(folder)
        if json.loads(json.dumps({**about, "storage": storage})).items() <= dict(header).items():
            return header
    raise ValueError(f"{folder} is there already: use it, delete it, or choose another place")


def _write_new(folder: Path, writer: "_Writer", parts: Parts, about: dict[str, Any], needed: int) -> Header:
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


def estimate(parts: Parts, side: int, quality: int) -> int:
    """Return the bytes of the whole, estimated from a few images; 5 % more, because they differ."""
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
    """Appends images to images.bin, and remembers where they are."""

    def __init__(self, side: int, quality: int, skip_unreadable: bool, threads: int | None):
        self.side, self.quality, self.threads = side, quality, threads
        self.skip_unreadable = skip_unreadable
        self.sizes: list[int] = []
        self.targets: list[NDArray[np.int64]] = []
        self.digest = hashlib.sha256()

    def write(self, folder: Path, parts: Parts, about: dict[str, Any]) -> Header:
        """Write all parts, the index and the header, and return that."""
        self.folder = folder
        spans = {part: self.add(part, *found) for part, found in parts.items()}
        return self.finish({"format": FORMAT, "version": VERSION, **about, "parts": spans})

    def add(self, part: str, source: Source, targets: Tensor) -> list[int]:
        """Write a part. Return the numbers of its first image and of the one after its last."""
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


def write_header(folder: Path, header: dict[str, Any]) -> Header:
    """Write header.json, last of all: without it the folder is not one. Return it as it will be read."""
    text = json.dumps(header, indent=1)
    write_text(folder / "header.json", text)
    return parse_header(text, folder)
