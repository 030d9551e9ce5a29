"""Read sharded checkpoints: folders with `.metadata`, as sharding strategies write them. Nothing in them is run.

torch's own reader unpickles `.metadata` without checks, and so would run any code in it.
"""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

WEIGHTS, FSDP = "state_dict", "FSDP"  # prefix of keys of weights, and names of classes with sharded weights
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


def in_pieces(path: str | Path) -> bool:
    """Return whether a path is the folder of a sharded checkpoint."""
    return Path(path, ".metadata").expanduser().is_file()


def read(path: str | Path) -> dict[str, Any]:
    """Read all weights of a sharded checkpoint and the description of its model, in this process alone.

    Raises:
        ValueError: it is damaged, or holds more than weights.
    """
    path = Path(path).expanduser()
    try:
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
        about: dict[str, Any] = torch.load(Path(path, "meta.pt"), map_location="cpu", weights_only=True)
    except (Exception, dcp.api.CheckpointException) as error:  # the latter is a BaseException
        cause = error.failures[0][0] if isinstance(error, dcp.api.CheckpointException) else error
        raise ValueError(
            f"{path} is a checkpoint in pieces that cannot be read ({type(cause).__name__}: {cause}): write whole "
            "files, with ModelParallelStrategy(save_distributed_checkpoint=False)"
        ) from None
    name = about.get("model")  # FSDP puts a prefix before the class's name
    return about | {WEIGHTS: weights} | ({"model": name.removeprefix(FSDP)} if isinstance(name, str) else {})
