"""Files of weights and checkpoints, read and written. Nothing that a file carries is ever run.

Files are read with `torch.load(weights_only=True)` or safetensors.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from fsspec.implementations.local import LocalFileSystem
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError
from torch import Tensor

from zoo.frame import atomic
from zoo.frame.preprocessing import Preprocessing


def read(path: str | Path, average: str | None = None) -> dict[str, Tensor]:
    """Read the weights in a file. `average`: which of a checkpoint's averages to take, such as `"EMA(0.999)"`."""
    if Path(path).suffix == ".safetensors":
        return _read_safetensors(_existing(path))
    content = read_checkpoint(path)
    if average is not None:
        return pick_average(content, average, path)
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def preprocessing_in(path: str | Path) -> Preprocessing | None:
    """Return how images are prepared for weights in a file of ours; None where it does not say."""
    suffix, found = Path(path).suffix, None
    if suffix == ".safetensors":
        with safetensors.safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {}).get("preprocessing", "null"))
    elif suffix == ".ckpt":
        found = (read_checkpoint(path).get("about") or {}).get("preprocessing")
    return None if found is None else Preprocessing.of(found)


def pick_average(checkpoint: dict[str, Any], average: str, path: str | Path) -> dict[str, Tensor]:
    """One of the averages that tricks wrote into a checkpoint. Raises ValueError with the names that there are."""
    averages = checkpoint.get("averages", {})
    if average not in averages:
        raise ValueError(f"{path} has no average {average!r}; it has {sorted(averages) or 'none'}")
    return averages[average]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of `torch.save` without running anything that it carries."""
    _existing(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_why_refused(path, error)) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is cut short or no torch file ({_first_line(error)}): fetch or save it again"
        ) from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not weights by name")
    return content


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def explained(path: Any, weights_only: bool | None = True) -> Iterator[None]:
    """Says in one line what is wrong with a file where torch and Lightning take many, or none."""
    try:
        yield
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        if weights_only is not False and isinstance(path, str | Path) and Path(path).is_file():
            read_checkpoint(path)  # raises if it is the file
        raise


class ClearCheckpointIO(TorchCheckpointIO):
    """How `Trainer` writes and reads checkpoints.

    Written: beside the old file, which stays until the new one is on the disk in full; on object stores as Lightning
    does. Read from `ckpt_path`: no code runs, from a URL neither, unless `weights_only=False`.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if storage_options is not None or not isinstance(get_filesystem(path), LocalFileSystem):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        file = Path(LocalFileSystem._strip_protocol(str(path)))
        file.parent.mkdir(parents=True, exist_ok=True)
        save(checkpoint, file)

    def load_checkpoint(self, path: str | Path, *args: Any, weights_only: bool | None = None, **kwargs: Any) -> dict:
        weights_only = weights_only is None or weights_only  # Lightning takes None for False where the path is a URL
        with explained(path, weights_only):
            return super().load_checkpoint(path, *args, weights_only=weights_only, **kwargs)


def _existing(path: str | Path) -> str | Path:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no file {path}; weights come as 'timm:NAME', 'torchvision:NAME', 'hf:USER/REPO' or a path"
        )
    return path


def _why_refused(path: str | Path, error: Exception) -> str:
    """Which objects a file wants to build beside tensors, and how its owner can make a clean one."""
    try:
        culprits = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, ValueError, pickle.UnpicklingError):  # the format before torch 1.6 cannot be listed
        culprits = []
    if not culprits and not zipfile.is_zipfile(path):
        culprits = [line for line in str(error).splitlines() if "GLOBAL" in line or "global" in line][:1]
        if not culprits:
            return f"{path} is cut short or no torch file: fetch or save it again"
    return (
        f"{path} carries more than tensors ({', '.join(culprits) or error}), and loading that could run code. If you "
        "trust its source, convert it once: torch.save(torch.load(old, weights_only=False)['state_dict'], new)"
    )


def _read_safetensors(path: str | Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is cut short or no safetensors file ({error}): fetch or save it again") from None


def write(state: dict[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write plain weights in place of an older file: safetensors, with metadata in its header, or torch's format."""
    path = Path(path).expanduser()
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    if path.suffix == ".safetensors":
        with atomic.replace(path) as file:
            file.write(safetensors.torch.save(state, {"format": "pt", **(metadata or {})}))
    else:
        save(state, path)


def save(content: Any, path: Path) -> None:
    """Do what `torch.save` does, in place of an older file, which stays if the disk is full."""
    buffer = io.BytesIO()  # to a file, torch's writer ends the process where the disk is full
    torch.save(content, buffer)
    with atomic.replace(path) as file:
        file.write(buffer.getbuffer())
