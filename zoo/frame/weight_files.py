"""Read and write files of weights and checkpoints. No code in a file is ever run.

Files are read with `torch.load(weights_only=True)` or safetensors. Errors are one line.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import safe_open

from zoo.frame import atomic, shards
from zoo.frame.about import ABOUT, CLASS
from zoo.frame.file_kinds import clean_copy, is_safetensors, refuse_other_kinds
from zoo.frame.preprocessing import Preprocessing
from zoo.frame.surgery import words
from zoo.frame.weight_sets import State, choose

AGAIN = "fetch or save it again"


class Weights(NamedTuple):
    """Weights by name, and their description in our own files."""

    state: State
    model: str | None = None  # name of the class
    variant: str | None = None
    preprocessing: Preprocessing | None = None  # of the images for them
    surgery: str | None = None  # what tricks did to the network
    classes: tuple[str, ...] | None = None  # names
    pretrained_classes: tuple[str, ...] | None = None  # names that data may have otherwise


def read(path: str | Path, which: str | None = None) -> Weights:
    """Read the weights in a file. `which`: see `weight_sets.choose`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds code, is of another kind, or has no such weights.
    """
    if not shards.in_pieces(path):
        file = resolve_file(path)
        refuse_other_kinds(file)
        if is_safetensors(file) or file.suffix == ".safetensors" and not zipfile.is_zipfile(file):
            return _read_safetensors(file)
    content = read_checkpoint(path)
    entries = (content.get(key) for key in ("hyper_parameters", ABOUT))
    hparams, about = (entry if isinstance(entry, Mapping) else {} for entry in entries)
    told = {"model": content.get(CLASS), "variant": hparams.get("variant"), **about}
    if about:  # a checkpoint of ours
        with suppress(TypeError, ValueError):
            told["surgery"] = words([(name, dict(arguments)) for name, arguments in content.get("surgery", ())])
    return _describe(choose(content, which, Path(path)), told)


def _describe(state: State, told: Mapping[str, Any]) -> Weights:
    """Return weights with a file's description of them, if it has our format: other files may have the same keys."""
    entries = (told.get(name) for name in ("model", "variant", "surgery"))
    model, variant, surgery = (entry if isinstance(entry, str) else None for entry in entries)
    try:
        preprocessing = Preprocessing.of(told["preprocessing"])
    except Exception:  # not ours, or damaged
        preprocessing = None
    names = told.get("classes")
    whole = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return Weights(state, model, variant, preprocessing, surgery, tuple(names) if names and whole else None)


def pick_average(checkpoint: Mapping[str, Any], average: str, path: str | Path) -> State:
    """Return an average that a trick saved in a checkpoint. Raises ValueError with the names that it has."""
    averages: Mapping[str, State] = checkpoint.get("averages", {})
    if average not in averages:
        raise ValueError(f"{path} has no average {average!r}; it has {sorted(averages) or 'none'}")
    return averages[average]


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Read a file of `torch.save`, or a sharded checkpoint, without running code in it. Raises as `read`."""
    if shards.in_pieces(path):
        return shards.read(path)
    file = resolve_file(shards.present(path))
    refuse_other_kinds(file)
    if is_safetensors(file):
        raise ValueError(f"{file} holds only weights: make the model, then load_weights({str(file)!r})")
    try:
        with open(file, "rb") as opened, torch.serialization.safe_globals(shards.numpy_scalars()):
            content = torch.load(opened, map_location="cpu", weights_only=True)  # of a path, the suffix would count
    except pickle.UnpicklingError as error:
        raise ValueError(_why_refused(file, error)) from None
    except Exception as error:  # of damaged files, torch raises nearly every kind
        raise ValueError(f"{file} is cut short or not a torch file ({first_line(error)}): {AGAIN}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{file} holds a {type(content).__name__}, not weights by name")
    return content


def first_line(error: BaseException) -> str:
    """Return an error's first line, with the second if the first ends in a colon; its type's name if it has none."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:300]


@contextmanager
def in_one_line(path: str | Path) -> Iterator[None]:
    """Turn any error into one line with the file's name: constructors and torch raise many kinds for damaged files."""
    try:
        yield
    except Exception as error:
        said = first_line(error)
        if isinstance(error, ValueError) and str(path) in said:
            raise
        raise ValueError(f"{path} cannot be loaded: {said}") from None


@contextmanager
def explain_errors(path: Any, weights_only: bool | None = True) -> Iterator[None]:
    """Turn the errors of torch and Lightning for a bad file into one line."""
    safely = weights_only is not False and isinstance(path, str | Path) and Path(path).is_file()
    if safely:
        refuse_other_kinds(Path(path))
    try:
        with torch.serialization.safe_globals(shards.numpy_scalars()):
            yield
    except Exception as error:  # of damaged files, torch raises nearly every kind
        if safely:
            read_checkpoint(path)  # raises if the file is at fault
        elif weights_only is not False and isinstance(error, pickle.UnpicklingError):
            raise ValueError(
                f"{path} carries more than tensors, and loading that could run code: use another"
            ) from None
        raise


class ClearCheckpointIO(TorchCheckpointIO):
    """Write and read checkpoints for `Trainer`.

    A new file is written beside the old one, and replaces it when it is on disk in full. On object stores, Lightning
    writes it. Reading `ckpt_path`, also from a URL, runs no code unless `weights_only=False`.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        files = get_filesystem(path)
        if storage_options is not None or "file" not in files.protocol:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        file = Path(files._strip_protocol(str(path)))
        file.parent.mkdir(parents=True, exist_ok=True)
        save(checkpoint, file)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        safely = weights_only is None or weights_only  # Lightning treats None as False if the path is a URL
        with explain_errors(path, safely):
            return super().load_checkpoint(path, map_location=map_location, weights_only=safely)


def resolve_file(path: str | Path) -> Path:
    """Return the path of an existing file, with `~` expanded. Raises FileNotFoundError, or ValueError for a folder."""
    file = Path(path).expanduser()
    if file.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if not file.is_file():
        raise FileNotFoundError(
            f"no file {path}; weights come as 'timm:NAME', 'torchvision:NAME', 'hf:USER/REPO' or a path"
        )
    return file


def _why_refused(path: Path, error: Exception) -> str:
    """Explain which objects besides tensors a file would build, and how to convert it."""
    try:
        culprits = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the format before torch 1.6 cannot be listed
        culprits = []
    if not culprits and not zipfile.is_zipfile(path):
        culprits = [line for line in str(error).splitlines() if "GLOBAL" in line or "global" in line][:1]
        if not culprits:
            return f"{path} is cut short or not a torch file: {AGAIN}"
    return (
        f"{path} carries more than tensors ({', '.join(culprits) or first_line(error)}), and loading that could run "
        f"code. If you trust its source, convert it once: {clean_copy(path)}"
    )


def _read_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
        state = safetensors.torch.load_file(path)
    except Exception as error:
        raise ValueError(f"{path} is cut short or not a safetensors file ({first_line(error)}): {AGAIN}") from None
    return _describe(state, {name: _of_json(text) for name, text in told.items()})


def _of_json(text: str) -> Any:
    """Read an entry of a file's header: JSON in our files, text in others."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def write(state: State, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write plain weights, replacing an older file: safetensors, with metadata in its header, or torch's format."""
    path = Path(path).expanduser()
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    if path.suffix == ".safetensors":
        with atomic.replace(path) as file:
            file.write(safetensors.torch.save(_unshare(state), {"format": "pt", **(metadata or {})}))
    else:
        save(state, path)


def _unshare(state: State) -> State:
    """Copy weights that several layers share, for which safetensors has no form."""
    first = {value.untyped_storage().data_ptr(): key for key, value in reversed(state.items())}
    return {k: v if first[v.untyped_storage().data_ptr()] == k else v.clone() for k, v in state.items()}


def save(content: Any, path: Path) -> None:
    """Do the same as `torch.save`, but keep the older file if the disk is full."""
    buffer = io.BytesIO()  # to a file, torch's writer ends the process where the disk is full
    torch.save(content, buffer)
    with atomic.replace(path) as file:
        file.write(buffer.getbuffer())
