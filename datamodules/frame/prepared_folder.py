"""A prepared folder: its header, read and written, and its files, which are as long and as they were written."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from datamodules.frame.atomic import write_text
from datamodules.frame.download import matches
from datamodules.frame.header import AGAIN, Header, parse_header

FILES = ("images.bin", "offsets.npy", "targets.npy")  # of packed storage
VERIFIED = ".verified.json"


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


def read_existing(folder: Path, about: dict[str, Any], storage: str) -> Header:
    """Return the header of a folder that another process has made. Raise a ValueError if it holds something else."""
    with suppress(ValueError):  # no prepared folder, or a damaged one
        header = read_header(folder)
        if json.loads(json.dumps({**about, "storage": storage})).items() <= dict(header).items():
            return header
    raise ValueError(f"{folder} is there already: use it, delete it, or choose another place")


def write_header(folder: Path, header: dict[str, Any]) -> Header:
    """Write header.json, last of all: without it the folder is not one. Return it as it will be read."""
    text = json.dumps(header, indent=1)
    write_text(folder / "header.json", text)
    return parse_header(text, folder)
