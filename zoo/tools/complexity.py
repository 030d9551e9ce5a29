"""Compute the cost of a network: output shape, activation memory, parameters and multiply-adds, layer by layer.

One image passes through the network on torch's meta device, so that the largest network takes no memory. Multiply-adds
are half of torch's FLOP count: convolutions, linear layers and matrix products. As in papers, biases, norms,
activations and pooling do not count.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.frame.evaluation import probe


@dataclass
class Cost:
    """One row of the table.

    Attributes:
        name: path of the module.
        kind: class of the module.
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
    """Return the cost of the modules `names`, in the order in which they run; None: every module without children."""
    modules = dict(network.named_modules())
    names = [n for n, m in modules.items() if n and not any(m.children())] if names is None else list(names)
    outputs: dict[str, Tensor] = {}

    def remember(name: str) -> Callable[..., None]:
        def first(module: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs.setdefault(name, output)

        return first

    hooks = [modules[name].register_forward_hook(remember(name)) for name in names]
    try:
        flops = _flops(network, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    return [_cost(name, modules[name], output, flops) for name, output in outputs.items()]


@dataclass
class StageCost:
    """Cost of a stage: everything after the end of the previous one; the first includes the stem.

    Attributes:
        name: of the stage; "head" for everything after the last one, "in training only" for modules that evaluation
            does not run.
        shape: of the stage's output, for one image.
        memory: bytes of all layers' outputs in float32, kept by training for the backward pass.
        parameters, macs: as in `Cost`.
    """

    name: str
    shape: tuple[int, ...]
    memory: int
    parameters: int
    macs: int


def stage_costs(network: nn.Module, image_size: int) -> list[StageCost]:
    """Return the cost of every stage of `network.stages`, then of the head; their sum is the whole network."""
    stages, modules = dict(getattr(network, "stages", {})), dict(network.named_modules())
    rows = [StageCost(name, (), 0, 0, 0) for name in [*stages, "head", "in training only"]]
    first_run: dict[str, StageCost] = {}  # module -> the row in which it first runs
    ended: list[tuple[int, ...]] = []  # shapes of the stages so far

    def enter(name: str) -> Callable[..., None]:
        return lambda module, inputs: first_run.update({name: first_run.get(name, rows[len(ended)])})

    def leave(module: nn.Module, inputs: Any, output: Tensor) -> None:
        rows[len(ended)].memory += 4 * output[0].numel()

    hooks = [module.register_forward_pre_hook(enter(name)) for name, module in modules.items()]
    layers = (m for name, m in modules.items() if name and not any(m.children()) and not isinstance(m, nn.Identity))
    hooks += [layer.register_forward_hook(leave) for layer in layers]
    hooks += [m.register_forward_hook(lambda m, a, out: ended.append(tuple(out.shape[1:]))) for m in stages.values()]
    try:
        flops = _flops(network, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    for row, shape in zip(rows, ended, strict=False):
        row.shape = shape
    _share_out(modules, flops, lambda name: first_run.get(name, rows[-1]))
    return [row for row in rows if row.name in stages or row.parameters or row.macs or row.memory]


def _share_out(modules: dict[str, nn.Module], flops: dict[str, int], row_of: Callable[[str], StageCost]) -> None:
    """Add each module's own parameters and operations, without its children's, to its row."""
    counted: set[nn.Parameter] = set()
    for name, module in modules.items():
        own, path = set(module.parameters(recurse=False)) - counted, f"{name}." if name else ""
        counted |= own
        row_of(name).parameters += sum(p.numel() for p in own)
        inside = sum(_flops_within(path + child, part, flops) for child, part in module.named_children())
        row_of(name).macs += (flops.get(name, inside) - inside) // 2


def _flops_within(path: str, module: nn.Module, flops: dict[str, int]) -> int:
    """Return the operations of a module and its children; torch does not count lists, because they do not run."""
    if path in flops:
        return flops[path]
    return sum(_flops_within(f"{path}.{child}", part, flops) for child, part in module.named_children())


def _flops(network: nn.Module, image_size: int) -> dict[str, int]:
    """Count floating-point operations by module path; "" is the whole network."""
    counter = FlopCounterMode(display=False)
    with counter:
        probe(network, image_size)
    root = type(network).__name__
    counts = counter.get_flop_counts()
    return {path.removeprefix(root).removeprefix("."): sum(ops.values()) for path, ops in counts.items()}


def _cost(name: str, module: nn.Module, output: Tensor, flops: dict[str, int]) -> Cost:
    parameters = sum(p.numel() for p in module.parameters())
    shape = tuple(output.shape[1:])
    return Cost(name, type(module).__name__, shape, 4 * output[0].numel(), parameters, flops.get(name, 0) // 2)


def total_macs(network: nn.Module, image_size: int) -> int:
    """Return the multiply-adds of the whole network for one image, whose side is in pixels."""
    return _flops(network, image_size).get("", 0) // 2


def table(rows: Iterable[Cost], title: str) -> Table:
    """Return a table of the rows and their sums, for `rich.print`."""
    rows = list(rows)
    view = Table(title=title)
    for heading in ("layer", "kind", "output"):
        view.add_column(heading)
    for heading in ("KB", "parameters", "MACs"):
        view.add_column(heading, justify="right")
    for row in rows:
        shape = " x ".join(map(str, row.shape))
        view.add_row(row.name, row.kind, shape, f"{row.memory / 1024:,.2f}", f"{row.parameters:,}", f"{row.macs:,}")
    return view


def summary(network: nn.Module, image_size: int | None = None) -> Table:
    """Return output shape, memory, parameters and multiply-adds of every layer for one image; `rich.print` shows it.

    Args:
        network: unchanged.
        image_size: side of the image in pixels; None: the network's.

    Raises:
        ValueError: the side of the images is not known.
    """
    size = image_size or getattr(network, "image_size", None)
    if size is None:
        raise ValueError("how large are the images? zoo.summary(network, image_size=...)")
    return table(costs(network, size), f"{type(network).__name__}, {size} x {size} px")
