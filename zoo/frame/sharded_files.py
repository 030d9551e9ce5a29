"""Write and resume sharded checkpoints safely: a crash leaves the old or the new one, and no code in one is run.

A sharded checkpoint is a folder into which each process writes its part of weights and optimizer. Lightning's strategy
writes over it in place: a process killed in between leaves parts of two steps. It reads with unpicklers that run code.
Of a tensor in parts that a callback saves, such as an average, it keeps the part of rank 0.
"""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule

from zoo.frame.atomic import sync_folder
from zoo.frame.sharded import agree, gather
from zoo.frame.shards import Reader, explain_errors, in_pieces, older, present, read_about

IN_PARTS = ("state_dict", "optimizer_states")  # entries of a checkpoint that the processes write part by part


def protect(strategy: Strategy) -> None:
    """Let Lightning's sharding strategy write and read its checkpoints as this file does."""
    if type(strategy) is ModelParallelStrategy:
        strategy.__class__ = Sharding


class Sharding(ModelParallelStrategy):
    """Lightning's `ModelParallelStrategy`, with safe checkpoints, and batch norms' statistics of rank 0, as in DDP."""

    def lightning_module_state_dict(self) -> dict[str, Any]:
        self._agree()  # else those of the last rank would be written
        return super().lightning_module_state_dict()

    def on_validation_start(self) -> None:
        self._agree()

    def on_test_start(self) -> None:
        self._agree()

    def on_validation_end(self) -> None:
        self._reshard()

    def on_test_end(self) -> None:
        self._reshard()

    def _agree(self) -> None:
        assert self.model is not None
        agree(self.model.buffers())

    def _reshard(self) -> None:
        """Free the whole weights that the layers outside the blocks have after a pass in evaluation."""
        if isinstance(self.model, FSDPModule):
            self.model.reshard()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Write beside the old checkpoint, then put the new one in its place. Every process takes part."""
        parts = {key: checkpoint[key] for key in IN_PARTS if key in checkpoint}
        content = gather({key: value for key, value in checkpoint.items() if key not in parts}) | parts
        if not self._save_distributed_checkpoint:
            super().save_checkpoint(content, filepath, storage_options)
            return
        path = Path(self.broadcast(filepath))
        new = path.with_name(f".{path.name}.part")
        if self.global_rank == 0:
            shutil.rmtree(new, ignore_errors=True)
        self.barrier()
        super().save_checkpoint(content, new, storage_options)
        self.barrier()
        if self.global_rank == 0:
            replace_folder(new, path)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read weights and optimizers into the run's, in parts; return the rest. Raises ValueError if damaged."""
        path = Path(self.broadcast(present(checkpoint_path)))
        if weights_only is False or not in_pieces(path):
            return super().load_checkpoint(path, weights_only is not False)
        assert self.model is not None and self.lightning_module is not None
        with explain_errors(path):
            about = read_about(path)
            weights = {"state_dict": get_model_state_dict(self.model)}
            _load(weights, path)
            self.model.load_state_dict(weights["state_dict"], strict=self.lightning_module.strict_loading)
            for i, optimizer in enumerate(self.optimizers):
                state = {f"optimizer_{i}": get_optimizer_state_dict(self.model, optimizer)}
                _load(state, path)
                found, options = state[f"optimizer_{i}"], StateDictOptions(cpu_offload=True)
                set_optimizer_state_dict(self.model, optimizer, optim_state_dict=found, options=options)
        return about


def _load(state: dict[str, Any], path: Path) -> None:
    dcp.load(state, storage_reader=Reader(path), planner=PlainPlanner())


class PlainPlanner(DefaultLoadPlanner):
    """torch's planner, which reads entries that are no tensors, such as learning rates, without running code."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        plain = torch.load(value, weights_only=True)
        again = io.BytesIO()
        torch.save(plain, again)
        again.seek(0)
        super().load_bytes(read_item, again)


def replace_folder(new: Path, path: Path) -> None:
    """Put a complete folder in the place of another, or of a file. In between, `older(path)` has what was there."""
    old = older(path)
    for file in new.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if path.exists():
        _remove(old)
        os.rename(path, old)
    os.rename(new, path)
    sync_folder(path.parent)
    _remove(old)


def _remove(path: Path) -> None:
    path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
