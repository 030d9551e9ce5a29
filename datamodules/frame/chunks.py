"""Read prepared images from litdata's chunks: for object stores, and data sets larger than a machine's disk.

    header.json, targets.npy       as in `pack`
    train/index.json               litdata's: names and lengths of the chunks
    train/chunk-0-0.bin ...        litdata's: {"image": bytes of a JPEG, "target": int}, some 64 MB each

`litdata.StreamingDataset` can read the folders too. We do not use its iterator, because its order depends on the number
of workers, nor its access by index, which reads hundreds of images for each one. We read by index, in our own order. A
chunk begins with uint32 numbers: n, then the n + 1 offsets of items; an item begins with the lengths of its two fields.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.atomic import publish
from datamodules.frame.byte_file import ByteFile
from datamodules.frame.download import lock, matches, watch
from datamodules.frame.header import is_count, parse_header, safe_name
from datamodules.frame.order import Order, draws, mix

OPEN = 128  # chunks that a process has open
WINDOW = 8  # chunks that are read at a time where they have to be fetched
AHEAD = 4  # chunks on their way before they are needed
CACHE = Path("~/.cache/lightning-zoo")
FIELDS = ["bytes", "int"]  # of an item, in litdata's words


class Chunks:
    """Images of one part in litdata's chunks; a `Source`.

    Args:
        store: of the chunks.
        part: "train", "val" or "test".

    Raises:
        ValueError: chunks with other fields, or an index that names files outside its folder.
    """

    def __init__(self, store: "Store", part: str):
        self.store, self.part = store, part
        self.files, sizes = read_index(store.path(f"{part}/index.json"), f"{store.root}/{part}")
        self.ends = np.cumsum(sizes)

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def chunk_of(self) -> Tensor:
        """(n,) int64: the chunk of each image."""
        return torch.from_numpy(np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0)))

    def fetch(self, k: int) -> Path:
        """Copy a chunk to this machine, if it is not here yet. Raise a RuntimeError if that fails."""
        return self.store.path(f"{self.part}/{self.files[k]}")

    def read(self, i: int) -> bytes:
        """Return the JPEG of an image. Raise a ValueError if its chunk is damaged."""
        item = self._item(i)
        start, size = 4 * len(FIELDS), int.from_bytes(item[:4], "little")
        if size == 0 or start + size > len(item):
            raise ValueError(f"{self.name(i)} is damaged: its chunk has no such image; prepare or copy it again")
        return item[start : start + size]

    def target(self, i: int) -> int:
        """Return the class stored in the chunk; training uses targets.npy."""
        return int.from_bytes(self._item(i)[-8:], "little")

    def _item(self, i: int) -> bytes:
        k = int(np.searchsorted(self.ends, i, side="right"))
        chunk, starts = open_chunk(self.store, f"{self.part}/{self.files[k]}")
        first = int(self.ends[k - 1]) if k else 0
        if len(starts) != int(self.ends[k]) - first + 1:
            raise ValueError(f"{chunk.path} and its index.json count different images: prepare or copy it again")
        return chunk.read(int(starts[i - first]), int(starts[i - first + 1]))

    def name(self, i: int) -> str:
        """Return chunk and index, for messages."""
        k = int(np.searchsorted(self.ends, i, side="right"))
        return f"{self.store.root}/{self.part}/{self.files[k]}, image {i} of {self.part}"

    def size(self, i: int) -> int:
        """Return the size of an image in bytes."""
        return len(self.read(i))


def read_index(path: Path, name: str) -> tuple[list[str], list[int]]:
    """Read litdata's index.json: names of the chunks and numbers of their images.

    Args:
        path: of the file.
        name: of the folder that it describes, for messages.

    Raises:
        ValueError: it is damaged, describes other fields than `FIELDS`, or names files outside its folder.
    """
    try:
        index = json.loads(path.read_text())
        config, chunks = index["config"], index["chunks"]
        files, sizes = [chunk["filename"] for chunk in chunks], [chunk["chunk_size"] for chunk in chunks]
        kind = config["data_format"], config.get("compression") or None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{name}/index.json is damaged ({error!r}): prepare it again") from error
    if kind != (FIELDS, None):
        raise ValueError(f"{name} has chunks that `zoo prepare` did not write: prepare it again")
    if not files or not all(is_count(size) and size > 0 for size in sizes):
        raise ValueError(f"{name}/index.json is damaged (a chunk without images): prepare it again")
    for file in files:
        if len(safe_name(file, f"{name}/index.json").parts) > 1:
            raise ValueError(f"{name}/index.json names a chunk {file!r} in another folder: prepare it again")
    return files, sizes


class Store:
    """Files of a folder, or copies of files of an object store. Stores with the same root are equal.

    One process per machine copies a file when it is first needed, for all processes. Beyond `limit` bytes in total, the
    least recently opened copies are deleted. A changed header has copies of its own.

    Args:
        root: a folder, or an address that litdata knows: "s3://...", "gs://...", "azure://...", "r2://...".
        cache: folder for copies; None for `~/.cache/lightning-zoo`.
        limit: bytes of copies.

    Raises:
        ImportError: an address needs litdata, which is not installed.
        RuntimeError: the address holds no prepared data set, or cannot be reached.
    """

    def __init__(self, root: str | Path, cache: str | Path | None = None, limit: float = 100e9):
        self.root, self.limit = str(root).rstrip("/"), limit
        self.remote = is_remote(root)
        self.folder = Path(root).expanduser()
        self.files: dict[str, list[Any]] = {}
        if self.remote:
            self.folder = (CACHE if cache is None else Path(cache)).expanduser()
            self.folder.mkdir(parents=True, exist_ok=True)
            header = self.folder / f".header.{os.getpid()}"
            self._fetch("header.json", header)
            text = header.read_text(errors="replace")
            self.files = parse_header(text, self.root)["files"]
            self.folder /= sha256(self.root.encode() + header.read_bytes()).hexdigest()[:16]
            self.folder.mkdir(exist_ok=True)
            publish(header, self.folder / "header.json")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and (self.root, self.folder) == (other.root, other.folder)

    def __hash__(self) -> int:
        return hash((self.root, self.folder))

    def path(self, name: str) -> Path:
        """Return the local path of a file, copied if needed. Raise a RuntimeError if that fails."""
        path = self.folder / safe_name(name, self.root)
        if self.remote and not path.exists():
            with lock(path, quiet=True):  # of a thread that reads ahead, as a rule
                if not path.exists():
                    self._make_room()
                    self._fetch(name, path)
        return path

    def _fetch(self, name: str, path: Path) -> None:
        part = path.with_name(f"{path.name}.part")
        try:
            downloader = client(self.root, os.getpid())
            watch(lambda: downloader.download_file(f"{self.root}/{name}", str(part)), part)
            self._check(name, part)
            publish(part, path)
        except ImportError:
            raise
        except Exception as error:  # each store raises its own kinds of error
            part.unlink(missing_ok=True)
            raise RuntimeError(
                f"{self.root}/{name} could not be fetched ({error}): check the address, the credentials and the disk "
                f"of {self.folder}"
            ) from error

    def _check(self, name: str, path: Path) -> None:
        """Raise a ValueError unless a copy has the size and the checksum in the header."""
        if name not in self.files:
            return
        size, checksum = self.files[name]
        if path.stat().st_size != size:
            raise ValueError(f"{path.stat().st_size:,} bytes arrived of {size:,}")
        if not matches(path, checksum):
            raise ValueError("its checksum does not match")

    def _make_room(self) -> None:
        """Delete copies of chunks beyond the limit; a process that has one open can still read it."""
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
    """Return whether this is an address, not a folder."""
    return "://" in str(root) or str(root).startswith("local:")  # the second is litdata's, for tests


@lru_cache
def client(root: str, process: int) -> Any:
    """Return litdata's client of an address: one a process, since to connect takes longer than to fetch.

    Raises:
        ImportError: litdata is not installed.
    """
    try:
        from litdata.streaming.downloader import get_downloader
    except ImportError as error:
        raise ImportError(f"{root} is read through litdata: pip install 'lightning-zoo[stream]'") from error
    return get_downloader(root, "", [])  # it is told the whole path of each copy


@lru_cache(OPEN)
def open_chunk(store: Store, name: str) -> tuple[ByteFile, NDArray[np.int64]]:
    """Return a chunk and the offsets of its items, int64 (n + 1,). It stays open until others replace it.

    Raises:
        ValueError: it is truncated, or in another format, which litdata writes if pyarrow is installed.
    """
    path = store.path(name)
    try:
        chunk = ByteFile(path)
    except FileNotFoundError:  # another process needed the space
        chunk = ByteFile(store.path(name))
    if store.remote:
        os.utime(path)
    size = chunk.size
    count = int.from_bytes(chunk.read(0, min(4, size)), "little")
    starts = np.zeros(1, np.int64)
    if 8 + 4 * count <= size:
        starts = np.frombuffer(chunk.read(4, 8 + 4 * count), np.uint32).astype(np.int64)
    if starts[0] != 8 + 4 * count or starts[-1] != size or (np.diff(starts) <= 0).any():
        raise ValueError(
            f"{path} is cut short, or its images are in another format (litdata writes one where pyarrow is "
            "installed): prepare it again with `zoo prepare`, or copy it again"
        )
    return chunk, starts


class ByChunk(Order):
    """An order that reads only a few chunks at a time; each process reads its own chunks.

    Chunks come in random order. Each image comes at a random position, at most `WINDOW` chunks later than in that
    order: as in a shuffle buffer of `WINDOW` chunks, but a pure function of (seed, epoch). Each process has a
    contiguous part; the copies of `repeats` are in one process.

    Args:
        chunk_of: (n,) int64, of all images of the data set.
        fetch: called by threads with the number of each chunk, `AHEAD` chunks before it is needed; None: it is there.
        others: of `Order`.
    """

    def __init__(
        self, indices: Tensor, *, chunk_of: Tensor, fetch: Callable[[int], object] | None = None, **others: Any
    ):
        super().__init__(indices, **others)
        self.chunk_of, self.fetch = chunk_of, fetch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        items = list(super().__iter__())
        return iter(items) if self.fetch is None else self._reading_ahead(items, self.fetch)

    def _reading_ahead(
        self, items: Sequence[tuple[int, int]], fetch: Callable[[int], object]
    ) -> Iterator[tuple[int, int]]:
        """Yield the items. A chunk that a thread fails to fetch is fetched again by its reader, which says why."""
        chunks = self.chunk_of[[index for _, index in items]].tolist()
        coming, used = iter(dict.fromkeys(chunks)), set()
        threads = ThreadPoolExecutor(AHEAD)
        try:
            for chunk in islice(coming, AHEAD):
                threads.submit(fetch, chunk)
            for chunk, item in zip(chunks, items, strict=True):
                if chunk not in used:
                    used.add(chunk)
                    for following in islice(coming, 1):
                        threads.submit(fetch, following)
                yield item
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _shuffle(self, key: int) -> tuple[Tensor, Tensor]:
        index, copy = super()._shuffle(key)
        chunks = int(self.chunk_of.max()) + 1
        rank = mix(torch.arange(chunks) + key).argsort().argsort()[self.chunk_of[index]]
        place = (rank + WINDOW * draws(index, 1, key)[:, 0].double()).argsort(stable=True)
        mine = place.view(self.num_replicas, -1).T.reshape(-1)  # process r of w has every w-th image, from r on
        return index[mine], copy[mine]
