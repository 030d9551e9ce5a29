"""What makes a network faster without changing what it computes: memory layout and `torch.compile`."""

import torch
from torch import nn


def lay_out(network: nn.Module) -> None:
    """Put the weights of convolutions into NHWC memory."""
    network.to(memory_format=torch.channels_last)


def compile_in_place(network: nn.Module) -> None:
    """Compile the network's forward pass, once; keys in checkpoints stay as they are."""
    if network._compiled_call_impl is None:
        # by default, a hook put on a module after the first compiled call never fires, and nothing says so
        torch._dynamo.config.skip_nnmodule_hook_guards = False
        network.compile()
