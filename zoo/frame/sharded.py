"""Weights of which each process keeps a part: FSDP2, by Lightning's `ModelParallelStrategy`.

    strategy = ModelParallelStrategy(data_parallel_size=8, tensor_parallel_size=1)
    Trainer(devices=8, strategy=strategy).fit(ViT("B/16"), data)

Code: torch.distributed.fsdp.fully_shard. Each weight is a `DTensor`, of which a process has some rows. Reading one is
easy to get wrong: `p.norm().item()` is the norm of this process's rows, and `functional_call` uses the network's own
weights instead of those that it is given. The functions below do the same for plain tensors, so that a trick is written
once: `own` and `whole` return a plain tensor as it is.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.func import functional_call

FSDP = "FSDP"  # what `fully_shard` puts before the name of a class


def shard(model: nn.Module, mesh: DeviceMesh, device: torch.device) -> None:
    """Leave in each process its part of the weights, which all begin as those of rank 0.

    The layers of a block come and go together. What is in no block stays from the forward to the backward pass.

    Args:
        model: changed in place. Its class gets a prefix, see `class_name`.
        mesh: of one dimension.
        device: of the process.
    """
    if isinstance(model, FSDPModule):
        return
    for tensor in (*model.parameters(), *model.buffers()):
        if not tensor.is_meta:
            value = tensor.detach().to(device)
            dist.broadcast(value, src=0)
            tensor.data.copy_(value)
    for module in (*blocks_of(model), model):
        fully_shard(module, mesh=mesh)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the modules with layers of their own that stand in a sequence, inner ones first."""
    rows = [module for module in model.modules() if isinstance(module, nn.Sequential | nn.ModuleList)]
    inside = {child for row in rows for child in row.children() if any(True for _ in child.children())}
    return [module for module in reversed([*model.modules()]) if module in inside]


def class_name(model: nn.Module) -> str:
    """Return the name of the class that a model had before it was sharded."""
    kind = type(model)
    return kind.__name__.removeprefix(FSDP) if isinstance(model, FSDPModule) else kind.__name__


# ---- tensors


def own(tensor: Tensor) -> Tensor:
    """Return this process's part, in the same memory; without a gradient."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return the tensor from all parts. Every process has to ask for it; gradients go back to the parts."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_like(value: Tensor, like: Tensor) -> Tensor:
    """Return `value`, whole and the same in every process, in parts and on the device as `like` is."""
    value = value.to(like.device)
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def from_rank_0(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a draw of rank 0, in every process, if `like` is in parts; otherwise the process's own draw."""
    if isinstance(like, DTensor):
        dist.broadcast(tensor, src=0)
    return tensor


def gather(tree: Any) -> Any:
    """Return a nest of dicts and sequences with every tensor in parts made whole, on the CPU."""
    if isinstance(tree, DTensor):
        return tree.full_tensor().cpu()
    if isinstance(tree, Mapping):
        return {key: gather(value) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(gather(value) for value in tree)
    return tree


# ---- networks


def agree(tensors: Any) -> None:
    """Copy rank 0's values of plain tensors, such as batch norms' statistics, to all processes; leave out parts."""
    for tensor in tensors:
        if not isinstance(tensor, DTensor):
            dist.broadcast(tensor, src=0)


def load_whole(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load whole weights, the same in every process, or weights in parts."""
    live = model.state_dict()
    model.load_state_dict({key: part_like(value, live[key]) for key, value in weights.items()})


def forward_with(model: nn.Module, weights: Mapping[str, Tensor], images: Tensor) -> Any:
    """Pass images through the network with other weights, in parts as its own are."""
    if not isinstance(model, FSDPModule):
        return functional_call(model, dict(weights), (images,))
    with swap_weights(model, weights):
        return model(images)


@contextmanager
def swap_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Exchange the values of the network's tensors and of `weights` inside the block, part by part, without a copy."""
    pairs = [(own(value), own(weights[key])) for key, value in model.state_dict().items() if key in weights]
    _exchange(model, pairs)
    try:
        yield
    finally:
        _exchange(model, pairs)


@torch.no_grad()
def _exchange(model: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> None:
    if isinstance(model, FSDPModule):
        model.reshard()  # else the layers outside the blocks still have the whole weights of their last pass
    for one, other in pairs:  # `data`: autograd would refuse the backward pass of a step in which values came and went
        kept = one.clone()
        one.data.copy_(other)
        other.data.copy_(kept)
