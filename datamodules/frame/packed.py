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
import mmap
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.frame.decode import leave_out, named
from datamodules.frame.download import is_full, locked, matches
from datamodules.frame.shrink import attempt, shrink_all

FORMAT = "lightning-zoo prepared images"
VERSION = 1
FILES = ("images.bin", "offsets.npy", "targets.npy")
SAMPLE = 16  # images a part from which the size of all is estimated
AGAIN = "delete the folder and prepare it again"


class Packed:
    """The images of one part; a `Source`. What it holds of the folder is opened in each process by itself.

    Args:
        folder: of `write`.
        part: "train", "val" or "test".

    Raises:
        ValueError: no folder of `write`, or not a whole one. `verify` finds also a byte that has changed.
    """

    def __init__(self, folder: str | Path, part: str):
        self.folder = Path(folder)
        self.first, self.end = read_header(self.folder)["parts"][part]
        self._open = None

    def __len__(self) -> int:
        return self.end - self.first

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": None}

    def _files(self) -> tuple[mmap.mmap, np.ndarray]:
        if self._open is None:
            with open(self.folder / "images.bin", "rb") as file:
                images = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._open = images, np.load(self.folder / "offsets.npy", mmap_mode="r").view(np.ndarray)
        return self._open

    def read(self, i: int) -> bytes:
        images, offsets = self._files()
        return images[offsets[self.first + i] : offsets[self.first + i + 1]]

    def name(self, i: int) -> str:
        return f"{self.folder / 'images.bin'}, image {self.first + i}"

    def size(self, i: int) -> int:
        offsets = self._files()[1]
        return int(offsets[self.first + i + 1] - offsets[self.first + i])

    @property
    def targets(self) -> Tensor:
        """(n,) int64."""
        return torch.from_numpy(np.load(self.folder / "targets.npy")[self.first : self.end])


def read_header(folder: Path) -> dict:
    """What was said of the images when they were written, once it is sure that the files are as long as then.

    Raises:
        ValueError: the folder was not written here, or is damaged.
    """
    try:
        text = (folder / "header.json").read_text()
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is no prepared data set, it has no header.json: `zoo prepare` makes one") from error
    header = parse_header(text, folder)
    for name, (size, _) in header["files"].items():
        there = (folder / name).stat().st_size if (folder / name).exists() else 0
        if there != size:
            raise ValueError(f"{folder / name} has {there:,} bytes instead of {size:,}: {AGAIN}, or copy it again")
    return header


def parse_header(text: str, folder: str | Path) -> dict:
    """header.json of either storage, of this version. Raises a ValueError for anything else."""
    try:
        header = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{folder}/header.json is damaged ({error}): {AGAIN}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{folder}/header.json is of something else: `zoo prepare` makes another folder")
    if header["version"] != VERSION:
        raise ValueError(f"{folder} has version {header['version']}, this is for {VERSION}: prepare it again")
    return header


def verify(folder: str | Path) -> None:
    """Reads all of it, with a progress bar, and raises a ValueError if a byte has changed."""
    folder = Path(folder)
    for name, (_, checksum) in read_header(folder)["files"].items():
        if not matches(folder / name, checksum):
            raise ValueError(f"{folder / name} has changed since it was written: {AGAIN}, or copy it again")


# ---- writing


def write(
    folder: str | Path,
    parts: dict[str, tuple],
    classes: tuple[str, ...],
    *,
    side: int = 256,
    quality: int = 90,
    skip_unreadable: bool = False,
    threads: int | None = None,
    **about,
) -> dict:
    """Makes a folder of images whose short side is at most `side`. It appears when it is complete.

    Meanwhile it is called `.<name>.preparing`, beside; one that was left by a killed process is deleted.

    Args:
        folder: must not be there.
        parts: "train", "val", "test" -> (Source, int64 targets).
        classes: names.
        side, quality: of the JPEGs, as in `shrink`.
        skip_unreadable: leave out, with a warning, what cannot be read or is damaged.
        threads: None for one a core; the bytes are the same for any number.
        about: what else the header should say.

    Returns:
        The header.

    Raises:
        ValueError: the folder is there, an argument is out of range, or some images cannot be read: all are tried
            first, so that it can count and name them.
        OSError: the disk is too small: before it starts, by an estimate, or when it is full. Nothing is left.
    """
    if side < 1 or not 1 <= quality <= 100:
        raise ValueError(f"size must be at least 1 pixel and quality in 1 to 100, got {side} and {quality}")
    folder = Path(folder)
    new = folder.with_name(f".{folder.name}.preparing")
    with locked(folder):
        if folder.exists():
            raise ValueError(f"{folder} is there already: use it, delete it, or choose another place")
        shutil.rmtree(new, ignore_errors=True)
        needed = estimate(parts, side, quality)
        if shutil.disk_usage(folder.parent).free < needed:
            raise too_small(folder, needed)
        source = {part: len(targets) for part, (_, targets) in parts.items()}
        about = {"side": side, "quality": quality, "classes": list(classes), "source": source, **about}
        try:
            new.mkdir()
            header = _Writer(new, side, quality, skip_unreadable, threads).write(parts, about)
            new.replace(folder)
        except BaseException as error:
            shutil.rmtree(new, ignore_errors=True)
            if is_full(error):
                raise too_small(folder, needed) from error
            raise
    return header


def estimate(parts: dict[str, tuple], side: int, quality: int) -> int:
    """Bytes of the whole, from a few images; 5 % more, because they differ."""
    total = 0
    for source, targets in parts.values():
        some = range(0, len(source), max(1, len(source) // SAMPLE))
        sizes = [len(data) for i in some if isinstance(data := attempt(source, i, side, quality), bytes)]
        total += 1.05 * len(targets) * (sum(sizes) / max(1, len(sizes)) + 16)
    return int(total)


def too_small(folder: Path, needed: int) -> OSError:
    free = shutil.disk_usage(folder.parent).free
    return OSError(
        errno.ENOSPC,
        f"the disk of {folder} is too small: about {needed / 1e9:.3g} GB are needed and {free / 1e9:.3g} GB are free; "
        "nothing was left there: make room, or choose another place",
    )


class _Writer:
    """Appends images to images.bin, and remembers where they are."""

    def __init__(self, folder: Path, side: int, quality: int, skip_unreadable: bool, threads: int | None):
        self.folder, self.side, self.quality, self.threads = folder, side, quality, threads
        self.skip_unreadable = skip_unreadable
        self.sizes, self.targets, self.digest = [], [], hashlib.sha256()

    def write(self, parts: dict[str, tuple], about: dict) -> dict:
        """All parts, the index and the header, which it returns."""
        spans = {part: self.add(part, *found) for part, found in parts.items()}
        return self.finish({"format": FORMAT, "version": VERSION, **about, "parts": spans})

    def add(self, part: str, source, targets: Tensor) -> list[int]:
        """Writes a part; the numbers of its first image and of the one after its last."""
        first, problems = len(self.sizes), {}
        with open(self.folder / "images.bin", "ab") as file:
            for i, data in shrink_all(source, self.side, self.quality, f"preparing {part}", self.threads):
                if isinstance(data, Exception):
                    problems[i] = data
                elif self.skip_unreadable or not problems:
                    file.write(data)
                    self.digest.update(data)
                    self.sizes.append(len(data))
        good = self._good(part, source, problems)
        self.targets.append(targets[good].numpy())
        return [first, len(self.sizes)]

    def _good(self, part: str, source, problems: dict[int, Exception]) -> Tensor:
        reasons = {source.name(i): str(error.__cause__ or error) for i, error in problems.items()}
        if problems and not self.skip_unreadable:
            raise ValueError(
                f"{len(problems)} of {len(source)} images of {part} cannot be used: {named(reasons)}: repair or delete "
                "them, or leave them out with skip_unreadable (--skip-unreadable)"
            )
        return leave_out(problems.keys(), reasons, len(source))

    def finish(self, header: dict) -> dict:
        """Writes the index and, last, the header."""
        np.save(self.folder / "offsets.npy", np.cumsum([0, *self.sizes], dtype=np.int64))
        np.save(self.folder / "targets.npy", np.concatenate(self.targets).astype(np.int64))
        digests = {name: hashlib.sha256((self.folder / name).read_bytes()) for name in FILES[1:]}
        digests["images.bin"] = self.digest
        files = {n: [os.path.getsize(self.folder / n), f"sha256:{digests[n].hexdigest()}"] for n in FILES}
        return write_header(self.folder, {**header, "storage": "packed", "files": files})


def write_header(folder: Path, header: dict) -> dict:
    """Last of all: without it the folder is not one."""
    text = json.dumps(header, indent=1)
    (folder / "header.json").write_text(text)
    return json.loads(text)  # as it will be read
