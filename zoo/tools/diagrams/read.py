"""Read a graph of boxes from a network that `torch.export` took apart."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from zoo.tools.diagrams.graph import AFTER, END, LAYER, Box, Graph
from zoo.tools.diagrams.operations import FACTORIES, describe, name_of, value
from zoo.tools.diagrams.words import class_words, module_words, shape_words

LETTERS = {"relative_position_bias_table": "B", "gamma": "γ"}  # of the papers
Whole = Callable[[nn.Module], bool]  # whether a module is one box, though it has modules inside


def read(block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], whole: Whole) -> Graph:
    """Return the boxes of a module in eval mode, a layer a box; the tensors may be on the meta device."""
    with torch.no_grad():
        program = torch.export.export(block, args, dict(kwargs))
    return _Reader(block, whole).read(program)


class _Reader:
    def __init__(self, block: nn.Module, whole: Whole):
        self.modules = dict(block.named_modules())
        self.whole = whole
        self.graph: Graph = {}
        self.sources: dict[fx.Node, list[str]] = {}  # the boxes whose values a node passes on; none: a constant
        self.names: dict[fx.Node, str] = {}  # of constants that are parameters

    def read(self, program: torch.export.ExportedProgram) -> Graph:
        inputs = {*program.graph_signature.user_inputs}
        weights, buffers = program.graph_signature.inputs_to_parameters, program.graph_signature.inputs_to_buffers
        for node in program.graph.nodes:
            if node.op == "placeholder":
                self.sources[node] = self._end(node) if node.name in inputs else []
                if node.name in weights:
                    name = weights[node.name].rpartition(".")[2]
                    self.names[node] = LETTERS.get(name, name)
                elif node.name in buffers:
                    self.names[node] = buffers[node.name].rpartition(".")[2]
            elif node.op == "call_function":
                self.sources[node] = self._call(node)
            elif node.op == "output":
                self._outputs(node)
        return self.graph

    def _end(self, node: fx.Node) -> list[str]:
        tensor = node.meta.get("val")
        if not isinstance(tensor, Tensor):
            return []
        self.graph[node.name] = Box([shape_words(tensor.shape)], END)
        return [node.name]

    def _outputs(self, node: fx.Node) -> None:
        for i, leaf in enumerate(leaf for leaf in tree_leaves(node.args) if isinstance(leaf, fx.Node)):
            if self.sources[leaf]:
                shape = leaf.meta["val"].shape
                self.graph[f"output{i or ''}"] = Box([shape_words(shape)], END, list(self.sources[leaf]))

    def _call(self, node: fx.Node) -> list[str]:
        if name_of(node) in FACTORIES:
            return []
        read = list(dict.fromkeys(key for leaf in _nodes(node) for key in self.sources[leaf]))
        key, path, groups = self._place(node)
        if path is not None:
            return self._layer(node, key, self.modules[path], [source for source in read if source != key], groups)
        named = describe(node, len(read), self._constant(node))
        if not read:
            self.names[node] = next((self.names[leaf] for leaf in _nodes(node) if leaf in self.names), "")
        if named is None or not read:
            return read
        self._add(node.name, named, read, groups)
        return [node.name]

    def _add(self, key: str, named: tuple[str, str], read: list[str], groups: tuple[str, ...]) -> Box:
        words, kind = named
        box = self.graph.setdefault(key, Box([words], kind, [], groups))
        box.sources = list(dict.fromkeys([*box.sources, *read]))
        return box

    def _layer(self, node: fx.Node, key: str, module: nn.Module, read: list[str], groups: tuple[str, ...]) -> list[str]:
        """Add the box of a module, of which the node is one operation. Where it has modules inside, add its shape."""
        inside = any(module.children())
        named = (class_words(module), False) if inside else module_words(module)
        if named is None or (not read and key not in self.graph):
            return read
        box = self._add(key, (named[0], AFTER if named[1] else LAYER), read, groups)
        if inside and isinstance(tensor := value(node), Tensor):
            box.lines = [*named[0].split("\n"), shape_words(tensor.shape)]
        return [key]

    def _place(self, node: fx.Node) -> tuple[str, str | None, tuple[str, ...]]:
        """Return the key and the path of the module that is one box, if the node is in one, and the modules around."""
        around: list[str] = []
        for key, (path, _) in node.meta.get("nn_module_stack", {}).items():
            path, call = path.partition("@")[0], key.partition("@")[2]
            if not path:
                continue
            module = self.modules[path]
            if not any(module.children()) or self.whole(module):
                return f"{path}@{call}" if call else path, path, tuple(around)
            around.append(path)
        return node.name, None, tuple(around)

    def _constant(self, node: fx.Node) -> str:
        """Name what a sum or product reads beside a box: a parameter, or a number."""
        for argument in node.args:
            if isinstance(argument, int | float) and not isinstance(argument, bool):
                return f"{argument:.3g}"  # a number
            if isinstance(argument, fx.Node) and not self.sources[argument] and self.names.get(argument):
                return self.names[argument]
        return ""


def _nodes(node: fx.Node) -> Iterator[fx.Node]:
    return (leaf for leaf in tree_leaves((node.args, node.kwargs)) if isinstance(leaf, fx.Node))
