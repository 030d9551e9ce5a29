"""Convert a packed file to litdata's chunks, with litdata."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.frame.atomic import publish
from datamodules.frame.chunks import Chunks, Store
from datamodules.frame.download import is_full, lock
from datamodules.frame.header import Header
from datamodules.frame.pack import Packed
from datamodules.frame.pack_writer import Sources, small_disk_error, write
from datamodules.frame.prepared_folder import read_existing, write_header

CHUNK = "64MB"
OPTIMIZE = "import sys; from datamodules.frame.convert import optimize; optimize(*sys.argv[1:])"


def write_chunks(folder: str | Path, parts: Sources, classes: tuple[str, ...], **options: Any) -> Header:
    """Make a folder for an object store; arguments, result and errors as in `packing.write`.

    A packed folder is made first, so the disk must hold the data twice for a while.

    Raises:
        ImportError: litdata is not installed.
    """
    if find_spec("litdata") is None:
        raise ImportError("chunks are written by litdata: pip install 'lightning-zoo[stream]'")
    folder = Path(folder).expanduser()
    packed, new = folder.with_name(f".{folder.name}.packed"), folder.with_name(f".{folder.name}.chunks")
    with lock(folder):
        if folder.exists():
            source = {part: len(targets) for part, (_, targets) in parts.items()}
            asked: dict[str, Any] = {name: options[name] for name in ("side", "quality") if name in options}
            return read_existing(folder, {"classes": list(classes), "source": source, **asked}, "litdata")
        for left in (packed, new):  # left by a killed process
            shutil.rmtree(left, ignore_errors=True)
        try:
            header = write(packed, parts, classes, **options)
            new.mkdir()
            _convert(packed, new, header)
            header = _finish(packed, new, header)
            publish(new, folder)
        except BaseException as error:
            shutil.rmtree(new, ignore_errors=True)
            if is_full(error) and packed.exists():
                raise small_disk_error(folder, (packed / "images.bin").stat().st_size) from error
            raise
        finally:
            shutil.rmtree(packed, ignore_errors=True)
            packed.with_name(f".{packed.name}.lock").unlink(missing_ok=True)
    return header


def _convert(packed: Path, new: Path, header: Header) -> None:
    """Write the chunks in a separate process: after `litdata.optimize`, a process can only spawn, not fork."""
    needed = int(1.01 * (packed / "images.bin").stat().st_size)
    if shutil.disk_usage(new).free < needed:
        raise small_disk_error(new.parent / new.name[1:-7], needed)
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", OPTIMIZE, str(packed), str(new), *header["parts"]]
    with tempfile.TemporaryFile() as said:  # no pipe: processes that litdata leaves behind would keep it open
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        said.seek(0)
        last = said.read().decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
    if done.returncode != 0 and "No space left" in last[0]:
        raise small_disk_error(new.parent / new.name[1:-7], needed)
    if done.returncode != 0:
        raise RuntimeError(f"litdata.optimize could not write the chunks ({last[0]}); all of them were deleted")


def optimize(packed: str, new: str, *parts: str) -> None:
    """Write the chunks with one worker: several would change the order of the images."""
    import litdata

    for part in parts:
        images = Packed(packed, part)
        numbers = list(range(len(images)))
        litdata.optimize(Item(images), numbers, f"{new}/{part}", num_workers=1, chunk_bytes=CHUNK, verbose=False)


class Item:
    """The stored fields of an image, by its index."""

    def __init__(self, images: Packed):
        self.images, self.targets = images, images.targets.tolist()

    def __call__(self, i: int) -> dict[str, Any]:
        return {"image": self.images.read(i), "target": self.targets[i]}


def _finish(packed: Path, new: Path, header: Header) -> Header:
    """Compare each image with the packed one, and write the header."""
    shutil.copy(packed / "targets.npy", new)
    targets = np.load(new / "targets.npy")
    for part, (first, end) in header["parts"].items():
        chunks, images = Chunks(Store(new), part), Packed(packed, part)
        if len(chunks) != end - first or any(
            chunks.read(i) != images.read(i) or chunks.target(i) != targets[first + i] for i in range(end - first)
        ):
            raise RuntimeError(f"litdata.optimize changed the images of {part}: use --format packed")
    files = {}
    for path in sorted(p for p in new.rglob("*") if p.suffix in (".bin", ".npy", ".json")):
        with open(path, "rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        files[path.relative_to(new).as_posix()] = [path.stat().st_size, f"sha256:{checksum}"]
    return write_header(new, {**header, "storage": "litdata", "files": files})
