"""Find the unreadable images once, and save the result beside the data."""

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from datamodules.frame.atomic import write_text
from datamodules.frame.decode import decode, in_threads, leave_out
from datamodules.frame.source import Source


def find_readable(source: Source, notes: Path, white: float | None = None) -> Tensor:
    """Return the indices of the readable images, at most (n,), int64, ascending; a warning names the others.

    All are decoded (about 1,000 ImageNet images per second and core), and a damaged JPEG counts as unreadable. Because
    that takes time, the result is saved. It is valid while names and sizes of the files are unchanged.

    Args:
        source: the images.
        notes: a JSON file for the result; if it cannot be written, each process checks for itself.
        white: as in `decode`.

    Raises:
        ValueError: no image can be read.
    """
    key = fingerprint(source, white)
    found = _recall(notes, key)
    if found is None:
        found = find_unreadable(source, white)
        _remember(notes, {"key": key, "unreadable": [[i, source.name(i), why] for i, why in found.items()]})
    return leave_out(found.keys(), {source.name(i): why for i, why in found.items()}, len(source))


def find_unreadable(source: Source, white: float | None = None) -> dict[int, str]:
    """Return {index of an unreadable image: the error}."""

    def work(i: int) -> None:
        decode(source.read(i), source.name(i), strict=True, white=white)

    problems = in_threads(work, len(source), "checking")
    return {i: str(error.__cause__ or error) for i, error in problems.items()}


def fingerprint(source: Source, white: float | None = None) -> str:
    """Return a hash that changes with the name or the size of any image, and with `white`."""
    digest = sha256(b"" if white is None else str(white).encode())
    for i in range(len(source)):
        digest.update(f"{source.name(i)}\0{source.size(i)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _recall(notes: Path, key: str) -> dict[int, str] | None:
    try:
        saved = json.loads(notes.read_text())
        return {i: why for i, _, why in saved["unreadable"]} if saved["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged
        return None


def _remember(notes: Path, content: dict[str, Any]) -> None:
    with suppress(OSError):  # a read-only folder
        write_text(notes, json.dumps(content, indent=1))
