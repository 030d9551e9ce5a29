"""Prepared images in litdata's chunks: for an object store, and data sets larger than a machine's disk.

    header.json, targets.npy       as in `_packed`
    train/index.json               litdata's: names and lengths of the chunks
    train/chunk-0-0.bin ...        litdata's: {"image": bytes of a JPEG, "target": int}, some 64 MB each

So `litdata.StreamingDataset` reads the folders as well. Here they are not read by its iterator, whose order is another
one for another number of workers, but by index, in our own order; and not by its own access by index, which reads
hundreds of images for each. A chunk begins with uint32 numbers: n, then n + 1 places of items; an item begins with the
lengths of its two fields.
"""

import json
import mmap
import os
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.frame.download import locked
from datamodules.frame.order import Order, draws, mix

OPEN = 128  # chunks that a process has open
WINDOW = 8  # chunks that are read at a time where they have to be fetched
CACHE = Path("~/.cache/lightning-zoo")
FIELDS = ["bytes", "int"]  # of an item, in litdata's words


class Chunks:
    """The images of one part in litdata's chunks; a `Source`.

    Args:
        store: where they are.
        part: "train", "val" or "test".

    Raises:
        ValueError: chunks of something else.
    """

    def __init__(self, store: "Store", part: str):
        index = json.loads(store.path(f"{part}/index.json").read_text())
        if index["config"]["data_format"] != FIELDS or index["config"].get("compression"):
            raise ValueError(f"{store.root}/{part} has chunks of something else: prepare them with `zoo prepare`")
        self.store, self.part = store, part
        self.files = [chunk["filename"] for chunk in index["chunks"]]
        self.ends = np.cumsum([chunk["chunk_size"] for chunk in index["chunks"]])

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def chunk_of(self) -> Tensor:
        """(n,) int64: the chunk of each image."""
        return torch.from_numpy(np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0)))

    def read(self, i: int) -> bytes:
        item = self._item(i)
        start = 4 * len(FIELDS)
        return item[start : start + int.from_bytes(item[:4], "little")]

    def target(self, i: int) -> int:
        """As it stands in the chunk; training has targets.npy."""
        return int.from_bytes(self._item(i)[-8:], "little")

    def _item(self, i: int) -> bytes:
        k = int(np.searchsorted(self.ends, i, side="right"))
        data, places = opened(self.store, f"{self.part}/{self.files[k]}")
        number = i - (int(self.ends[k - 1]) if k else 0)
        return data[places[number] : places[number + 1]]

    def name(self, i: int) -> str:
        k = int(np.searchsorted(self.ends, i, side="right"))
        return f"{self.store.root}/{self.part}/{self.files[k]}, image {i} of {self.part}"

    def size(self, i: int) -> int:
        return len(self.read(i))


class Store:
    """Files of a folder, or copies of files of an object store. One is equal to another of the same root.

    Copies are made when they are first asked for, by one process for all of the machine, and kept; when they are more
    than `limit` bytes together, those not opened for longest are deleted. Another header has other copies.

    Args:
        root: a folder, or an address that litdata knows: "s3://...", "gs://...", "azure://...", "r2://...".
        cache: folder for copies; None for `~/.cache/lightning-zoo`.
        limit: bytes of copies.

    Raises:
        ImportError: an address needs litdata, which is not installed.
        RuntimeError: the address has no prepared data set, or cannot be reached.
    """

    def __init__(self, root: str | Path, cache: str | Path | None = None, limit: float = 100e9):
        self.root, self.limit = str(root).rstrip("/"), limit
        self.remote = is_remote(root)
        self.folder = Path(root)
        if self.remote:
            self.folder = (CACHE if cache is None else Path(cache)).expanduser()
            self.folder.mkdir(parents=True, exist_ok=True)
            header = self.folder / f".header.{os.getpid()}"
            self._fetch("header.json", header)
            self.folder /= sha256(self.root.encode() + header.read_bytes()).hexdigest()[:16]
            self.folder.mkdir(exist_ok=True)
            header.replace(self.folder / "header.json")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and (self.root, self.folder) == (other.root, other.folder)

    def __hash__(self) -> int:
        return hash((self.root, self.folder))

    def path(self, name: str) -> Path:
        """Of a file here, copied if need be. Raises a RuntimeError if that cannot be done."""
        path = self.folder / name
        if self.remote and not path.exists():
            with locked(path):
                if not path.exists():
                    self._make_room()
                    self._fetch(name, path)
        return path

    def _fetch(self, name: str, path: Path) -> None:
        try:
            from litdata.streaming.downloader import get_downloader
        except ImportError as error:
            raise ImportError(f"{self.root} is read through litdata: pip install 'lightning-zoo[stream]'") from error
        part = path.with_name(f"{path.name}.part")
        try:
            get_downloader(self.root, str(path.parent), []).download_file(f"{self.root}/{name}", str(part))
            part.replace(path)
        except Exception as error:  # each store has its own kinds
            part.unlink(missing_ok=True)
            raise RuntimeError(
                f"{self.root}/{name} could not be fetched ({error}): check the address, the credentials and the disk "
                f"of {self.folder}"
            ) from error

    def _make_room(self) -> None:
        """Deletes copies of chunks beyond the limit; who has one open keeps it."""
        copies = []
        for path in self.folder.glob("*/*.bin"):
            try:
                copies.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            except FileNotFoundError:  # another process was faster
                continue
        total = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= size


def is_remote(root: str | Path) -> bool:
    """Whether it is an address and not a folder."""
    return "://" in str(root) or str(root).startswith("local:")  # the second is litdata's, for tests


@lru_cache(OPEN)
def opened(store: Store, name: str) -> tuple[mmap.mmap, np.ndarray]:
    """A chunk, and the places of its items: uint32 (n + 1,). Open in this process until others push it out."""
    path = store.path(name)
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:  # another process needed the room
        file = open(store.path(name), "rb")  # noqa: SIM115
    with file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if store.remote:
        os.utime(path)
    count = int.from_bytes(data[:4], "little")
    return data, np.frombuffer(data[4 : 8 + 4 * count], np.uint32).astype(np.int64)


class ByChunk(Order):
    """An order in which only a few chunks are read at a time, and each process reads its own.

    Chunks come in random order, and an image at a random place from its chunk's to `WINDOW` chunks later: as in a
    shuffle buffer of `WINDOW` chunks, but a pure function of (seed, epoch). Each process has one stretch of it; copies
    of `repeats` are in one process.

    Args:
        chunk_of: (n,) int64, of all images of the data set.
        others: of `Order`.
    """

    def __init__(self, *indices: Tensor, chunk_of: Tensor, **others):
        super().__init__(*indices, **others)
        self.chunk_of = chunk_of

    def _shuffled(self, key: int) -> tuple[Tensor, Tensor]:
        index, copy = super()._shuffled(key)
        chunks = int(self.chunk_of.max()) + 1
        rank = mix(torch.arange(chunks) + key).argsort().argsort()[self.chunk_of[index]]
        place = (rank + WINDOW * draws(index, 1, key)[:, 0].double()).argsort(stable=True)
        mine = place.view(self.num_replicas, -1).T.reshape(-1)  # process r of w has every w-th, from r on
        return index[mine], copy[mine]
