"""Find the depth of parameters: their layer between stem and head, and coarser parts, one per stage."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import lightning as L
from timm.models import group_parameters
from torch import nn

from zoo.convnext import ConvNeXt
from zoo.frame.checks import classes_of


@runtime_checkable
class Grouped(Protocol):
    """A timm network, which groups its parameters by layer itself."""

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]: ...


def depths(model: L.LightningModule) -> dict[str, int]:
    """Return the layer of each parameter, by name: 0 is the stem, then each block, the largest number is the head.

    A timm network defines its layers itself (`group_matcher`); ConvNeXt has its authors' 12 groups. In other networks a
    layer is a block: a member of a `Sequential` of blocks, or a child of the network. Parameters outside the blocks
    (tokens, positions) belong to the stem. A norm there belongs to the layer before it. Parameters outside the
    network, such as a trick's own layers, belong to the head.
    """
    network, path = _network(model)
    names = [name for name, _ in network.named_parameters()]
    if isinstance(network, Grouped):
        found = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    elif isinstance(network, ConvNeXt):
        third = [*network.stages["stage3"].get_submodule("blocks").children()]
        found = {name: _convnext(name, len(third)) for name in names}
    else:
        found = _by_blocks(network, names)
    head = max(found.values(), default=0)
    return {name: found.get(name.removeprefix(path), head) for name, _ in model.named_parameters()}


def parts(model: L.LightningModule) -> list[list[str]]:
    """Return the parameter names of each part: the first stage with the stem, the other stages, the head.

    The head is everything after the last stage. Without stages, the parts are the layers of `depths`.
    """
    stages = getattr(model, "stages", {})
    if not len(stages):
        place = depths(model)
    else:
        order = {module: i for i, module in enumerate(model.modules())}
        ends = [max(order[m] for m in stage.modules()) for stage in stages.values()]
        owners = {name: order[model.get_submodule(name.rpartition(".")[0])] for name, _ in model.named_parameters()}
        place = {name: sum(owner > end for end in ends) for name, owner in owners.items()}
    found = [[name for name, i in place.items() if i == n] for n in range(max(place.values(), default=-1) + 1)]
    return [part for part in found if part]


def _network(model: nn.Module) -> tuple[nn.Module, str]:
    """Return the network inside a LightningModule that wraps one, and the prefix of its parameters' names."""
    path = ""
    while isinstance(inner := getattr(model, "network", None), nn.Module):
        model, path = inner, f"{path}network."
    return model, path


def _convnext(name: str, third: int) -> int:
    """Count layers as the authors' `get_num_layer_for_convnext`, for any number of blocks in stage 3."""
    groups, (kind, *rest) = -(-third // 3), name.split(".")
    if kind == "stem":
        return 0
    if kind != "stages":
        return groups + 4
    stage = int(rest[0])
    inside = int(rest[2]) // 3 if stage == 2 and rest[1] == "blocks" else 0
    return groups + 3 if stage == 3 else stage + 1 + inside


# ---- from the modules alone


def _by_blocks(network: nn.Module, names: list[str]) -> dict[str, int]:
    units = list(_units(network, ""))
    head = _first_of_head(units, network)
    layers, layer = {}, -1
    for i, (path, module) in enumerate(units):
        if i <= head and (layer < 0 or any(p.ndim > 1 for p in module.parameters())):  # not a norm alone
            layer += 1
        layers[path] = layer
    found, following = {}, layer
    for name in reversed(names):  # outside all units (tokens, downsampling): part of the next one
        following = next((n for path, n in layers.items() if name.startswith(path)), following)
        found[name] = following
    return found


def _units(network: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that count as one layer, in order, with the prefixes of their parameters' names."""
    children = _with_parameters(network)
    blocks = [_row_in(child) for _, child in children]
    for (name, child), row in zip(children, blocks, strict=True):
        if row is None and (any(blocks) or not isinstance(child, nn.Sequential)):
            yield f"{path}{name}.", child
        elif row is None:  # AlexNet, VGG: the network is a sequence of single layers
            yield from ((f"{path}{name}.{n}.", layer) for n, layer in _with_parameters(child))
        else:
            yield from _members(row[1], f"{path}{name}.{row[0]}")


def _members(row: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in _with_parameters(row):
        if (found := _row_in(child)) is None:
            yield f"{path}{name}.", child
        else:
            yield from _members(found[1], f"{path}{name}.{found[0]}")


def _with_parameters(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]


def _row_in(module: nn.Module) -> tuple[str, nn.Module] | None:
    """Return the sequence of blocks that a module is, or has as `blocks`, with its path; None without one."""
    for path, row in (("", module), ("blocks.", getattr(module, "blocks", None))):
        if isinstance(row, nn.Sequential | nn.ModuleList) and any(_with_parameters(child) for child in row):
            return path, row
    return None


def _first_of_head(units: list[tuple[str, nn.Module]], network: nn.Module) -> int:
    """Return the index of the head's first unit: the last unit with K outputs, or the first of several in a row."""

    def gives_classes(module: nn.Module) -> bool:
        return any(getattr(m, "out_features", getattr(m, "out_channels", 0)) == classes for m in module.modules())

    try:
        classes = classes_of(network)
    except ValueError:
        return len(units) - 1
    giving = [i for i, (_, module) in enumerate(units) if gives_classes(module)]
    first = giving[-1] if giving else len(units) - 1
    while first - 1 in giving and isinstance(units[first - 1][1], nn.Linear):
        first -= 1
    return first
