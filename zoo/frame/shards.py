"""Read sharded checkpoints: folders with `.metadata`, as sharding strategies write them. Nothing in them is run.

torch's own reader unpickles `.metadata` without checks, and so would run any code in it.
"""

import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

WEIGHTS = "state_dict"  # prefix of keys of weights
DCP = "torch.distributed.checkpoint"
NAMES = {  # the classes in `.metadata`, besides torch's dtypes
    *((f"{DCP}.metadata", name) for name in ("Metadata", "TensorStorageMetadata", "BytesStorageMetadata")),
    *((f"{DCP}.metadata", name) for name in ("TensorProperties", "ChunkStorageMetadata", "MetadataIndex")),
    *((f"{DCP}.metadata", name) for name in ("StorageMeta", "_MEM_FORMAT_ENCODING")),
    *((f"{DCP}.filesystem", "_StorageInfo"), ("torch.serialization", "_get_layout"), ("torch", "Size")),
    *(("pathlib", name) for name in ("PosixPath", "WindowsPath", "PurePosixPath")),
}


class Plain(pickle.Unpickler):
    """Unpickle the classes in `NAMES`, and refuse all others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in NAMES or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


class Reader(dcp.FileSystemReader):
    """torch's reader of sharded checkpoints, with a safe reader of `.metadata`."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        with Path(self.path, ".metadata").open("rb") as file:
            found: Metadata = Plain(file).load()
        found.storage_meta = found.storage_meta or StorageMeta()
        found.storage_meta.load_id = self.load_id
        return found


def older(path: Path) -> Path:
    """Return where a checkpoint is kept while another takes its place: `.last.ckpt.old` for `last.ckpt`."""
    return path.with_name(f".{path.name}.old")


def present(path: str | Path) -> Path:
    """Return a checkpoint's path, or the one it had before, if a kill came while another was taking its place."""
    path = Path(path).expanduser()
    return older(path) if not path.exists() and older(path).exists() else path


def in_pieces(path: str | Path) -> bool:
    """Return whether a path is the folder of a sharded checkpoint."""
    return (present(path) / ".metadata").is_file()


def read(path: str | Path) -> dict[str, Any]:
    """Read all weights of a sharded checkpoint and the description of its model, in this process alone.

    Raises:
        ValueError: it is damaged, or holds more than weights.
    """
    path = present(path)
    with explain_errors(path):
        reader = Reader(path)
        kept = reader.read_metadata().state_dict_metadata
        weights = {
            name.removeprefix(f"{WEIGHTS}."): torch.empty(one.size, dtype=one.properties.dtype)
            for name, one in kept.items()
            if isinstance(one, TensorStorageMetadata) and name.startswith(f"{WEIGHTS}.")
        }
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as is meant
            dcp.load({WEIGHTS: weights}, storage_reader=reader, no_dist=True)
        return read_about(path) | {WEIGHTS: weights}


def read_about(path: Path) -> dict[str, Any]:
    """Read what a sharded checkpoint holds besides weights and optimizer, without running code in it."""
    with torch.serialization.safe_globals(numpy_scalars()):
        about: dict[str, Any] = torch.load(path / "meta.pt", map_location="cpu", weights_only=True)
    return about


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn the errors of torch for a damaged or hostile folder into one line."""
    try:
        yield
    except (Exception, dcp.api.CheckpointException) as error:  # the latter is a BaseException
        cause = next(iter(error.failures.values()))[0] if isinstance(error, dcp.api.CheckpointException) else error
        raise ValueError(
            f"{path} is a checkpoint in pieces that cannot be read ({type(cause).__name__}: {cause}): write whole "
            "files, with ModelParallelStrategy(save_distributed_checkpoint=False)"
        ) from None


def numpy_scalars() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return the classes of numpy's numbers, which searches use as learning rates; loading them runs no code."""
    build: Any = np.float64(0).__reduce__()[0]
    of_numpy_1, of_numpy_2 = (build, "numpy.core.multiarray.scalar"), (build, "numpy._core.multiarray.scalar")
    return [of_numpy_1, of_numpy_2, np.dtype, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDU"}]
