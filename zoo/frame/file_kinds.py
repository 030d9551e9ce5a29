"""Recognise files that are not plain weights, by their first bytes and list of contents. Nothing in them is run."""

import json
import mmap
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.frame.weight_sets import AVERAGED, KNOWN, OTHERS

ZIP = b"PK\x03\x04"
STARTS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes them: it holds no weights of PyTorch",
    b"\x93NUMPY": "an array of numpy: it holds no weights by name",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ\x00": "compressed by xz: unpack it first",
    b"GGUF": "a GGUF file of a language model",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: run git lfs pull",
    b"<!DOCTYPE": "a web page, not the file that was to be fetched",
    b"<html": "a web page, not the file that was to be fetched",
}
TAKES_MEMORY = b"bytearray"  # types that torch lets a file create with any size it states
SWELLS = 8  # largest ratio of size in memory to size on disk; torch writes without compression


def refuse_other_kinds(path: Path) -> None:
    """Raise ValueError for a file that is neither torch's nor safetensors', with its kind and what to do.

    Files that would take far more memory than their size are refused too.
    """
    with open(path, "rb") as file:
        start = file.read(64)
    if is_safetensors(path):
        return
    if kind := _kind(path, start):
        raise ValueError(f"{path} is {kind}")
    total, size, code = _measure(path) if start.startswith(ZIP) else (0, 0, _find(path, TAKES_MEMORY))
    if total > SWELLS * size:
        raise ValueError(f"{path} has {size:,} bytes and would take {total:,} in memory; torch writes no such files")
    if code:
        raise ValueError(f"{path} carries more than tensors (bytearray), which could take all memory: do not trust it")


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do, with the length of a JSON table and the table, for any suffix."""
    with open(path, "rb") as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    return start[8:] == b"{" and length <= path.stat().st_size - 8


def _kind(path: Path, start: bytes) -> str | None:
    if path.suffix == ".onnx":
        return "an ONNX graph: ONNX Runtime runs it; its weights have other names"
    if start.lstrip()[:1] in (b"{", b"["):
        return _kind_of_json(path)
    if start.startswith(ZIP):
        return _kind_of_zip(path)
    return next((kind for first, kind in STARTS.items() if start.lower().startswith(first.lower())), None)


def _kind_of_json(path: Path) -> str | None:
    try:
        pieces = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    except Exception:
        return "a JSON file, without weights" if path.suffix == ".json" else None
    return (
        f"the index of weights in {len(pieces)} pieces, {pieces[0]} and so on: "
        "read them one by one, and save what they hold together as one file"
    )


def _kind_of_zip(path: Path) -> str | None:
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
    if any(name.endswith("/constants.pkl") for name in names):
        return "a TorchScript archive, which is code: torch.save(torch.jit.load(old).state_dict(), new) has its weights"
    if any(name.endswith(("models/model.json", "serialized_exported_program.json")) for name in names):
        return "a graph of torch.export: torch.save(dict(torch.export.load(old).state_dict), new) has its weights"
    if names and all(name.endswith(".npy") for name in names):
        return "arrays of numpy (.npz): torch.save({name: torch.from_numpy(array) ...}, new) makes weights of them"
    if not any(name.endswith("data.pkl") for name in names):
        return "a zip of other files: unpack it first"
    return None


def _measure(path: Path) -> tuple[int, int, bool]:
    """Return the size of a zip's contents, of the zip itself, and whether its pickle allocates memory."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(one.file_size for one in archive.infolist())
            if total > SWELLS * size:
                return total, size, False
            pickles = [one for one in archive.infolist() if one.filename.endswith("data.pkl")]
            return total, size, any(TAKES_MEMORY in archive.read(one) for one in pickles)
    except Exception:  # damaged: torch's error will say so
        return 0, size, False


def _find(path: Path, word: bytes) -> bool:
    if not path.stat().st_size:
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(word) >= 0


# ---- how to convert a file with code to one without


class _Inert:
    """A placeholder for every object of a file that is inspected, not loaded."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _Looker(pickle.Unpickler):
    """Read the outer structure of a pickle: dictionaries, lists and plain values; nothing is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else _Inert

    def persistent_load(self, entry: Any) -> Any:
        return _Inert if isinstance(entry, tuple) and entry[:1] == ("module",) else _Inert()  # a class, or a storage


def clean_copy(path: Path) -> str:
    """Return the line of Python that converts a trusted file with code to a file of plain weights."""
    loaded = "torch.load(old, weights_only=False)"
    try:
        content = _look(path)
    except Exception:  # a damaged or foreign file
        content = None
    if isinstance(content, Mapping):
        key = _weights_key(content)
        if key is None:
            return f"torch.save({{k: v for k, v in {loaded}.items() if isinstance(v, torch.Tensor)}}, new)"
        content, loaded = content[key], f"{loaded}[{key!r}]"
    if isinstance(content, _Inert):  # a whole module
        loaded += ".state_dict()"
    return f"torch.save({loaded}, new)"


def _look(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as file:
                return _Looker(file).load()
    with open(path, "rb") as file:
        first = _Looker(file).load()
        if not isinstance(first, int):  # torch before 1.6 begins with a number, its version and the machine
            return first
        for _ in range(2):
            _Looker(file).load()
        return _Looker(file).load()


def _weights_key(content: Mapping[str, Any]) -> str | None:
    """Return the key of the entry with the weights, or with the module that has them; None if there is none."""
    entries = [key for key, value in content.items() if isinstance(key, str) and isinstance(value, Mapping | _Inert)]
    averages = [key for key in entries if AVERAGED.search(key)]
    known = [key for key in KNOWN if key in entries]
    others = [key for key in entries if isinstance(content[key], Mapping) and not key.lower().startswith(OTHERS)]
    return next(iter([*averages, *known, *others]), None)
