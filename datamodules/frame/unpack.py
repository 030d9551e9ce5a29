"""Unpack archives into a new folder, completely or not at all."""

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from datamodules.frame.atomic import publish
from datamodules.frame.download import CHUNK, full_disk_error, is_full, lock, needs_space
from datamodules.frame.header import safe_name

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, FileExistsError)
Place = Callable[[str], str | None]  # name of a member -> its new name, or None to skip it


def unpack(archive: Path, folder: Path, place: Place = lambda name: name) -> None:
    """Unpack a zip, tar or compressed tar into a new folder; do nothing if the folder exists.

    Tars in the archive are unpacked too, into folders of their names. Only files and folders are allowed: without
    links, no path can lead out of the folder.

    Args:
        archive: the file.
        folder: the new folder. Until it is complete, it is `.<name>.unpacking`; an incomplete one is deleted.
        place: name of a member -> its new name, or None to skip it.

    Raises:
        ValueError: a member is neither file nor folder, or its name leads out of the folder; or the archive is damaged.
            Unpacked files are deleted.
        OSError: the disk is too small; unpacked files are deleted.
    """
    archive, folder = Path(archive), Path(folder)
    new = folder.with_name(f".{folder.name}.unpacking")
    with lock(folder):
        if folder.exists():
            return
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        try:
            _unpack_into(new, archive, place)
            publish(new, folder)
        except BaseException as error:
            shutil.rmtree(new, ignore_errors=True)
            if is_full(error):
                raise full_disk_error(folder) from error
            if isinstance(error, DAMAGED):
                reason = str(error).split(":\n")[0]  # tarfile lists the errors of all kinds of compression
                raise ValueError(f"{archive} is damaged ({reason}): delete it and fetch it again") from error
            raise


def _unpack_into(folder: Path, archive: Path, place: Place) -> None:
    size = archive.stat().st_size
    with (
        open(archive, "rb") as file,
        tqdm(total=size, unit="B", unit_scale=True, desc=f"unpacking {archive.name}", disable=size < 1 << 24) as bar,
    ):
        needs_space(folder, unpacked_size(file))
        for name, data in members(file, archive.name):
            if (goes := place(name)) is not None:
                _write(data, folder / safe_name(goes, archive))
            bar.update(file.tell() - bar.n)


def members(file: IO[bytes], name: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each file in an archive, in order, and of each file in its tars.

    Raises:
        ValueError: a link or a device.
    """
    yield from (_zip_members if is_zip(file) else _tar_members)(file, name)


def is_zip(file: IO[bytes]) -> bool:
    """Return whether the first bytes are a zip's; `is_zipfile` checks the last 64 kB, in a tar perhaps an image's."""
    start = file.read(2)
    file.seek(0)
    return start == b"PK"


def _zip_members(file: IO[bytes], name: str) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = info.external_attr >> 28  # of Unix: 4 folder, 8 file, 0 not told
            if kind not in (0, 4, 8):
                raise ValueError(f"{name} holds {info.filename}, which is neither file nor folder: not unpacked")
            if not info.is_dir():
                with archive.open(info) as data:
                    yield info.filename, data


def _tar_members(file: IO[bytes], name: str) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=file) as archive:
        for info in archive:
            if not (info.isfile() or info.isdir()):
                raise ValueError(f"{name} holds {info.name}, which is neither file nor folder: not unpacked")
            if info.isdir():
                continue
            data = archive.extractfile(info)
            assert data is not None  # it is a file
            if info.name.endswith(".tar"):
                for inner, content in _tar_members(data, f"{name}/{info.name}"):
                    yield f"{info.name.removesuffix('.tar')}/{inner}", content
            else:
                yield info.name, data


def _write(data: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as file:  # "x": existing files are not overwritten
        shutil.copyfileobj(data, file, CHUNK)


def unpacked_size(file: IO[bytes]) -> int:
    """Return the size of a zip's content; for a tar, its own size, which is smaller than its content if compressed."""
    if not is_zip(file):
        return os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        size = sum(info.file_size for info in archive.infolist())
    file.seek(0)
    return size
