"""Draw the characteristic block of a model as the paper's figure has it, or a network without one by its layers.

The block is exported in eval mode on the input that it gets in one pass on the meta device, so weights are not read.
"""

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from zoo.frame.evaluation import probe
from zoo.tools.diagrams.drawing import Drawing
from zoo.tools.diagrams.graph import Graph
from zoo.tools.diagrams.layout import source
from zoo.tools.diagrams.read import read
from zoo.tools.diagrams.tidy import tidy
from zoo.tools.diagrams.words import class_words

LAYERS = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d)
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Diagram(Drawing):
    """A drawing of a module, and the boxes that it has.

    Attributes:
        boxes: by key: the path of the layer, or the name of the operation.
    """

    def __init__(self, boxes: Graph, title: str, block: nn.Module):
        self.boxes = boxes
        modules = dict(block.named_modules())
        super().__init__(source(boxes, title, lambda path: _group_words(modules[path])), title)

    @property
    def words(self) -> list[str]:
        """What the boxes say, in the order in which they are computed."""
        return [box.words for box in self.boxes.values()]


def diagram(model: nn.Module, path: str | None = None) -> Diagram:
    """Draw a block of a model; its module `path` names it.

    Args:
        model: a model of the zoo, or any network that knows its `image_size`; unchanged.
        path: of a module, such as "layer2.1"; "": the whole network. None: the model's `block_path`.

    Raises:
        ValueError: the model has no module at the path, or one pass does not call it.
    """
    path = getattr(model, "block_path", "") if path is None else path
    modules = dict(model.named_modules())
    if path not in modules:
        raise ValueError(f"{type(model).__name__} has no module {path!r}: diagram(model, path) draws another one")
    args, kwargs = _inputs(model, modules[path], path)
    block = copy.deepcopy(modules[path]).to("meta").eval()
    units = _units(model) if not path else set()
    boxes = tidy(read(block, args, kwargs, lambda part: hasattr(part, "drawn_as") or type(part) in units))
    variant = getattr(model, "variant", "")
    name = f"{type(model).__name__}-{variant}" if variant else type(model).__name__
    return Diagram(boxes, f"{name}, {path}" if path else name, block)


def _inputs(model: nn.Module, block: nn.Module, path: str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return what the block gets in the first call of one pass."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    hook = block.register_forward_pre_hook(lambda module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    try:
        probe(model, int(getattr(model, "image_size", None) or 224))
    finally:
        hook.remove()
    if not calls:
        raise ValueError(f"{type(model).__name__} does not call its module {path!r} in eval mode")
    return calls[0]


def _units(model: nn.Module) -> set[type[nn.Module]]:
    """Return the classes that are one box where the whole network is drawn: blocks of two layers or more."""
    stages = set(getattr(model, "stages", {}).values())
    found: set[type[nn.Module]] = set()
    for module in model.modules():
        layers = sum(isinstance(part, LAYERS) for part in module.modules())
        outside = any(part in stages for part in module.modules() if part is not module)
        if layers > 1 and not outside and not isinstance(module, (*CONTAINERS, type(model))):
            found.add(type(module))
    return found


def _group_words(module: nn.Module) -> str | None:
    """Return what stands at the ground of a sub-module; containers have none."""
    return None if isinstance(module, CONTAINERS) else class_words(module)
