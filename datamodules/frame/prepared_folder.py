"""Read, write and verify a prepared folder."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from datamodules.frame.atomic import write_text
from datamodules.frame.download import matches
from datamodules.frame.header import AGAIN, Header, parse_header

FILES = ("images.bin", "offsets.npy", "targets.npy")  # files of packed storage
VERIFIED = ".verified.json"


def read_header(folder: Path) -> Header:
    """Check the sizes of the other files, then read header.json.

    Raises:
        ValueError: the folder was not made by `zoo prepare`, or is damaged.
    """
    try:
        text = (folder / "header.json").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} is not a prepared data set (no header.json): make one with `zoo prepare`"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder}/header.json cannot be read ({error}): {AGAIN}, or copy it again") from error
    header = parse_header(text, folder)
    if header["storage"] == "packed" and not set(FILES) <= set(header["files"]):
        raise ValueError(f"{folder}/header.json is damaged (it lacks a file's name): {AGAIN}, or copy it again")
    for name, (size, _) in header["files"].items():
        there = (folder / name).stat().st_size if (folder / name).exists() else 0
        if there != size:
            raise ValueError(f"{folder / name} has {there:,} bytes instead of {size:,}: {AGAIN}, or copy it again")
    return header


def verify(folder: str | Path) -> None:
    """Read all files, with a progress bar. Raise a ValueError if a byte has changed since they were written."""
    folder = Path(folder).expanduser()
    for name, (_, checksum) in read_header(folder)["files"].items():
        if not matches(folder / name, checksum):
            raise ValueError(f"{folder / name} has changed since it was written: {AGAIN}, or copy it again")


def verify_once(folder: str | Path) -> None:
    """Verify a folder before its first use on this machine, and record that in `.verified.json`.

    The record is valid while the header, sizes and times of the files are unchanged. If it cannot be written, each call
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
    with suppress(OSError):  # a read-only folder
        write_text(folder / VERIFIED, note)


def read_existing(folder: Path, about: dict[str, Any], storage: str) -> Header:
    """Return the header of a folder made by another process. Raise a ValueError if it holds something else."""
    with suppress(ValueError):  # not a prepared folder, or damaged
        header = read_header(folder)
        if json.loads(json.dumps({**about, "storage": storage})).items() <= dict(header).items():
            return header
    raise ValueError(f"{folder} is there already: use it, delete it, or choose another place")


def write_header(folder: Path, header: dict[str, Any]) -> Header:
    """Write header.json, the last file, which makes the folder valid. Return it as it will be read."""
    text = json.dumps(header, indent=1)
    write_text(folder / "header.json", text)
    return parse_header(text, folder)
