"""Which images cannot be read: found out once, remembered beside the data."""

import json
import os
from hashlib import sha256
from pathlib import Path

from torch import Tensor

from datamodules.frame.decode import decode, in_threads, leave_out
from datamodules.frame.source import Source


def readable(source: Source, notes: Path) -> Tensor:
    """The numbers of the images that can be read, int64 (n,) or fewer, ascending; a warning names the others.

    All are decoded (about 1,000 ImageNet images a second and core), strictly: a damaged JPEG is not readable.
    As that takes its time, the result is kept and holds as long as names and sizes of the files are the same.

    Args:
        source: the images.
        notes: a json file for the result; where it cannot be written, each process checks for itself.

    Raises:
        ValueError: not one can be read.
    """
    key = fingerprint(source)
    found = _remembered(notes, key)
    if found is None:
        found = find_unreadable(source)
        _remember(notes, {"key": key, "unreadable": [[i, source.name(i), why] for i, why in found.items()]})
    return leave_out(found.keys(), {source.name(i): why for i, why in found.items()}, len(source))


def find_unreadable(source: Source) -> dict[int, str]:
    """Number of an image -> what is wrong with it."""

    def work(i: int) -> None:
        decode(source.read(i), source.name(i), strict=True)

    problems = in_threads(work, len(source), "checking")
    return {i: str(error.__cause__ or error) for i, error in problems.items()}


def fingerprint(source: Source) -> str:
    """Changes with the name or the size of any image."""
    digest = sha256()
    for i in range(len(source)):
        digest.update(f"{source.name(i)}\0{source.size(i)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _remembered(notes: Path, key: str) -> dict[int, str] | None:
    try:
        saved = json.loads(notes.read_text())
        return {i: why for i, _, why in saved["unreadable"]} if saved["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):  # not there, or spoilt
        return None


def _remember(notes: Path, content: dict) -> None:
    part = notes.with_name(f"{notes.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps(content, indent=1))
        part.replace(notes)  # whole or not at all, whoever else writes it now
    except OSError:  # a folder that is only for reading
        part.unlink(missing_ok=True)
