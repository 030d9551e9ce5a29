"""What a network costs: output shape, activation memory, parameters and multiply-adds, layer by layer.

Counted in one pass of one image over weights without storage (torch's meta device), so that the largest network takes
no memory. Multiply-adds are half of torch's FLOP count: convolutions, linear layers and matrix products, without
biases, norms, activations and pooling, as papers count them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Cost:
    """One row of the table.

    Attributes:
        name: path of the module.
        kind: its class.
        shape: of its output, for one image.
        memory: bytes of that output in float32.
        parameters: its own and its children's.
        macs: multiply-adds of one image.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    memory: int
    parameters: int
    macs: int


def costs(network: nn.Module, image_size: int, names: Iterable[str] | None = None) -> list[Cost]:
    """The cost of the modules `names`, in the order in which they are run; None: of every module without children."""
    modules = dict(network.named_modules())
    names = [n for n, m in modules.items() if n and not any(m.children())] if names is None else list(names)
    outputs: dict[str, Tensor] = {}

    def remember(name: str):
        return lambda module, inputs, output: outputs.setdefault(name, output)

    hooks = [modules[name].register_forward_hook(remember(name)) for name in names]
    flops = _flops(network, image_size)
    for hook in hooks:
        hook.remove()
    return [_cost(name, modules[name], output, flops) for name, output in outputs.items()]


def _flops(network: nn.Module, image_size: int) -> dict[str, int]:
    """Floating-point operations by module path; "" is the whole network."""
    state = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}
    training = [module for module in network.modules() if module.training]
    counter = FlopCounterMode(display=False, depth=None)
    with counter, torch.no_grad():
        functional_call(network.eval(), state, torch.empty(1, 3, image_size, image_size, device="meta"))
    for module in training:
        module.training = True
    root = type(network).__name__
    counts = counter.get_flop_counts()
    return {path.removeprefix(root).removeprefix("."): sum(ops.values()) for path, ops in counts.items()}


def _cost(name: str, module: nn.Module, output: Tensor, flops: dict[str, int]) -> Cost:
    parameters = sum(p.numel() for p in module.parameters())
    shape = tuple(output.shape[1:])
    return Cost(name, type(module).__name__, shape, 4 * output[0].numel(), parameters, flops.get(name, 0) // 2)


def total_macs(network: nn.Module, image_size: int) -> int:
    """Multiply-adds of the whole network for one image of that side, in pixels."""
    return _flops(network, image_size).get("", 0) // 2


def table(rows: Iterable[Cost], title: str) -> Table:
    """The rows with their sums, for `rich.print`."""
    rows = list(rows)
    view = Table(title=title)
    for heading, side in (("layer", "left"), ("kind", "left"), ("output", "left")):
        view.add_column(heading, justify=side)
    for heading in ("KB", "parameters", "MACs"):
        view.add_column(heading, justify="right")
    for row in rows:
        shape = " x ".join(map(str, row.shape))
        view.add_row(row.name, row.kind, shape, f"{row.memory / 1024:,.2f}", f"{row.parameters:,}", f"{row.macs:,}")
    return view
