"""What makes a network faster without changing what it computes: memory layout and `torch.compile`."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn

COMPILED = ("forward", "_compiled_call_impl")  # where ours is kept, and that of `nn.Module.compile`


def lay_out(network: nn.Module) -> None:
    """Put the weights of convolutions into NHWC memory."""
    network.to(memory_format=torch.channels_last)


def compile_forward(network: nn.Module, **options: Any) -> None:
    """Compile the network's forward pass, in place; keys in checkpoints stay as they are.

    Not the call of the module, as `nn.Module.compile` does: under DDP Lightning sends that to the training step, which
    would be compiled in its place, anew at each step. A deep copy has a compiled forward pass of its own.

    Args:
        network: any module.
        options: of `torch.compile`.
    """
    # by default, a hook put on a module after the first compiled call never fires, and nothing says so
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    network.forward = MethodType(torch.compile(type(network).forward, **options), network)


def is_compiled(network: nn.Module) -> bool:
    """Say whether the forward pass of the network is compiled, in this way or by `nn.Module.compile`."""
    written = type(network).forward
    return network._compiled_call_impl is not None or getattr(network.forward, "__func__", written) is not written


def decompile(network: nn.Module) -> dict[str, Any]:
    """Let the network run as it is written; what is returned, in `vars(network).update`, compiles it again."""
    return {name: vars(network).pop(name) for name in COMPILED if name in vars(network)}


@contextmanager
def as_written(network: nn.Module) -> Iterator[None]:
    """Run the network and its parts as they are written; afterwards they are compiled as before."""
    taken = [(module, decompile(module)) for module in network.modules()]
    try:
        yield
    finally:
        for module, compiled in taken:
            vars(module).update(compiled)
