"""Make a network faster without changing its output: memory layout and `torch.compile`."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn

COMPILED = (
    "forward",
    "_compiled_call_impl",
)  # attributes that hold our compiled forward pass, and that of `nn.Module.compile`


def lay_out(network: nn.Module) -> None:
    """Convert the weights of convolutions to NHWC memory."""
    network.to(memory_format=torch.channels_last)


def compile_forward(network: nn.Module, **options: Any) -> None:
    """Compile the network's forward pass, in place; keys in checkpoints stay as they are.

    `nn.Module.compile` compiles the module's call instead. Under DDP, Lightning redirects that call to the training
    step, which would then be compiled again at each step. A deep copy gets a compiled forward pass of its own.

    Args:
        network: any module.
        options: of `torch.compile`.
    """
    # by default, a hook added after the first compiled call never fires, without a warning
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    network.forward = MethodType(torch.compile(type(network).forward, **options), network)


def is_compiled(network: nn.Module) -> bool:
    """Return whether the forward pass is compiled, by `compile_forward` or by `nn.Module.compile`."""
    written = type(network).forward
    return network._compiled_call_impl is not None or getattr(network.forward, "__func__", written) is not written


def decompile(network: nn.Module) -> dict[str, Any]:
    """Undo the compilation; to restore it, pass the returned dict to `vars(network).update`."""
    return {name: vars(network).pop(name) for name in COMPILED if name in vars(network)}


@contextmanager
def as_written(network: nn.Module) -> Iterator[None]:
    """Run the network and its modules without compilation inside the block; restore it afterwards."""
    taken = [(module, decompile(module)) for module in network.modules()]
    try:
        yield
    finally:
        for module, compiled in taken:
            vars(module).update(compiled)
