"""Trace the operations of a network in one pass on the meta device.

Names and neighbours in a list of layers do not show which layer reads which output; the pass does, for any `forward`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from zoo.frame.evaluation import meta_images, meta_state, run


@dataclass(frozen=True)
class Value:
    """A tensor at one moment; after an in-place operation, it has a new number."""

    number: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer, by name."""

    name: str


@dataclass
class Call:
    """One operation.

    Attributes:
        name: aten's, without the overload, and without the underscore of its in-place form: "convolution", "add".
        args: arguments of the call, with tensors as `Value` or `Weight`.
        outputs: tensors of the result.
    """

    name: str
    args: tuple[Any, ...]
    outputs: list[Value]

    @cached_property
    def _leaves(self) -> list[Any]:
        return tree_leaves(self.args)  # a search through a network asks each call many times

    def values(self) -> Iterator[Value]:
        """Return the tensors that the call reads, without weights."""
        return (leaf for leaf in self._leaves if isinstance(leaf, Value))

    def weights(self) -> list[str]:
        """Return the names of the weights that the call reads."""
        return [leaf.name for leaf in self._leaves if isinstance(leaf, Weight)]


@dataclass
class Trace:
    """One pass of a network in eval mode: `images` -> `calls` -> `outputs`."""

    images: Value
    calls: list[Call]
    outputs: list[Value]


def trace(network: nn.Module, image_size: int) -> Trace:
    """Return the operations of one pass of one image, in order. The network is unchanged; weights are not read."""
    state, images = meta_state(network), meta_images(network, image_size)
    recorder = _Recorder({id(tensor): name for name, tensor in state.items()})
    seen = recorder.value(images)
    with recorder:
        out = run(network, state, images)
    return Trace(seen, recorder.calls, [recorder.value(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)])


class _Recorder(TorchDispatchMode):
    def __init__(self, names: dict[int, str]):
        super().__init__()
        self.names = names
        self.calls: list[Call] = []
        self.values: dict[int, Value] = {}
        self.kept: list[Tensor] = []  # alive, so that no number of an object is used twice
        self.count = 0

    def read(self, tensor: Tensor) -> Value | Weight:
        return Weight(self.names[id(tensor)]) if id(tensor) in self.names else self.value(tensor)

    def value(self, tensor: Tensor) -> Value:
        return self.values[id(tensor)] if id(tensor) in self.values else self._new(tensor)

    def _new(self, tensor: Tensor) -> Value:
        self.kept.append(tensor)
        self.count += 1
        self.values[id(tensor)] = Value(self.count, tuple(tensor.shape))
        return self.values[id(tensor)]

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        read = tree_map(lambda leaf: self.read(leaf) if isinstance(leaf, Tensor) else leaf, (args, kwargs or {}))
        out = func(*args, **(kwargs or {}))
        outputs = [self._new(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.calls.append(Call(func._opname.rstrip("_"), (*read[0], *read[1].values()), outputs))
        return out
