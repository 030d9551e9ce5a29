"""Read header.json of prepared images strictly, because a copy may be damaged or malicious."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict, cast

FORMAT = "lightning-zoo prepared images"
VERSION = 1
AGAIN = "delete the folder and prepare it again"


class Header(TypedDict, total=False):
    """The entries of header.json."""

    format: str
    version: int
    storage: str  # "packed" or "litdata"
    side: int
    quality: int
    classes: list[str]
    source: dict[str, int]  # images of the original, by part
    parts: dict[str, list[int]]  # index of the first image, and of the one after the last
    files: dict[str, list[Any]]  # name -> [bytes, checksum]
    mean: list[float] | None
    std: list[float] | None
    val_split: float | int | None


def parse_header(text: str, folder: str | Path) -> Header:
    """Parse a header of this version. Raise a ValueError that names the fault."""
    where = f"{folder}/header.json"
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is damaged ({error}): {AGAIN}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{where} was not written by `zoo prepare`: choose a folder that was")
    if header.get("version") != VERSION:
        raise ValueError(f"{folder} has version {header.get('version')}, not {VERSION}: prepare it again")
    if problem := next(_problems(header), None):
        raise ValueError(f"{where} is damaged ({problem}): {AGAIN}, or copy it again")
    return cast(Header, header)


def _problems(header: dict[str, Any]) -> Iterator[str]:
    """Name the entries that are not as `write` writes them."""
    if header.get("storage") not in ("packed", "litdata"):
        yield f"storage is {header.get('storage')!r}"
    classes = header.get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        yield "classes are no names"
    parts = header.get("parts")
    if not isinstance(parts, dict) or not parts or not set(parts) <= {"train", "val", "test"}:
        yield "parts are not train, val and test"
    elif not all(is_span(span) for span in parts.values()):
        yield "a part has no first and last image"
    files = header.get("files")
    if not isinstance(files, dict) or not all(is_file(name, entry) for name, entry in files.items()):
        yield "files have no name, size and checksum"
    for name in ("mean", "std"):
        if header.get(name) is not None and not is_colours(header[name]):
            yield f"{name} is {header[name]!r}"
    yield from _problems_of_origin(header)


def _problems_of_origin(header: dict[str, Any]) -> Iterator[str]:
    """Name the faults in the entries about how the images were made."""
    for name in ("side", "quality"):
        if not is_count(header.get(name)):
            yield f"{name} is {header.get(name)!r}"
    source = header.get("source")
    if not isinstance(source, dict) or not all(map(is_count, source.values())):
        yield "source has no counts of images"
    if header.get("val_split") is not None and not is_split(header["val_split"]):
        yield f"val_split is {header['val_split']!r}"


def is_span(span: object) -> bool:
    """Return whether this is [first, end] of a part with images."""
    return isinstance(span, list) and len(span) == 2 and all(map(is_count, span)) and span[0] < span[1]


def is_file(name: str, entry: object) -> bool:
    """Return whether this is a name inside the folder with [size, checksum]."""
    with suppress(ValueError):
        safe_name(name, "header.json")
        return isinstance(entry, list) and len(entry) == 2 and is_count(entry[0]) and is_checksum(entry[1])
    return False


def is_checksum(text: object) -> bool:
    """Return whether this is the checksum that `write` makes."""
    return isinstance(text, str) and re.fullmatch("sha256:[0-9a-f]{64}", text) is not None


def is_colours(numbers: object) -> bool:
    """Return whether this is a finite number for each channel."""
    return (
        isinstance(numbers, list)
        and len(numbers) in (1, 3)
        and all(isinstance(x, int | float) and math.isfinite(x) for x in numbers)
    )


def is_split(number: object) -> bool:
    """Return whether this is a count of images, or a fraction in [0, 1)."""
    return is_count(number) or (isinstance(number, float) and 0 <= number < 1)


def is_count(number: object) -> bool:
    """Return whether this is an integer >= 0 (JSON's true is not)."""
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 62


def safe_name(name: object, where: str | Path) -> PurePosixPath:
    """Return a file's name as a path that stays in its folder, on every system.

    Args:
        name: from an archive, an index or a header, which are not trusted.
        where: the file that holds it, for the message.

    Raises:
        ValueError: it is not a name, or leads out of the folder.
    """
    path = PurePosixPath(name) if isinstance(name, str) else PurePosixPath()
    bad = not path.parts or path.is_absolute() or ".." in path.parts or any(c in str(name) for c in "\\:\0")
    if bad:
        raise ValueError(f"{where} names {name!r}, which lies outside its folder")
    return path
