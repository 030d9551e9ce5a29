"""Find the layer or norm that ends each residual branch of a network, in one pass on shapes alone."""

from collections.abc import Sequence

from torch import nn

from zoo.tools.trace import Call, Trace, Value, trace

LAYERS = ("convolution", "addmm", "mm")
NORMS = ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_group_norm")
# operations allowed between the end of a branch and the sum
PASSED = ("view", "_unsafe_view", "permute", "transpose", "clone", "roll", "slice", "mul", "add")


def ends_of_branches(network: nn.Module, image_size: int, ends: Sequence[str]) -> list[str]:
    """Return the paths of modules that end a residual branch in one of these operations. Skip shortcuts that pad."""
    seen = trace(network, image_size)
    graph = _Graph(seen)
    found = []
    for call in seen.calls:
        terms = [leaf for leaf in call.args[:2] if isinstance(leaf, Value)] if call.name == "add" else []
        if len(terms) == 2 and terms[0].shape == terms[1].shape:
            for branch, shortcut in (terms, terms[::-1]):
                name, joins = graph.ends_in(branch, ends), graph.leaves_and_joins(branch, shortcut)
                if name and not graph.pads(shortcut) and (joins or graph.is_normed_beside(branch, shortcut)):
                    found.append(name.removesuffix(".weight"))
    return list(dict.fromkeys(found))


class _Graph:
    """The calls of a trace, by the values that they return."""

    def __init__(self, seen: Trace):
        self.maker: dict[int, Call] = {out.number: call for call in seen.calls for out in call.outputs}
        self.transposed = {c.outputs[0].number: c.weights()[0] for c in seen.calls if c.name == "t" and c.weights()}

    def ends_in(self, value: Value, ends: Sequence[str]) -> str | None:
        """Return the weight that gave a value, if only reshaping, scaling and gates came after it."""
        call = self.maker.get(value.number)
        if call is None:
            return None
        if call.name in ends:
            names = [*call.weights(), *(self.transposed.get(v.number, "") for v in call.values())]
            return next((name for name in names if name.endswith(".weight")), None)
        inputs = list(call.values())
        if call.name == "mul" and len(inputs) == 2:  # by a gate, which is one number for many
            inputs = [v for v in inputs if v.shape == value.shape]
        return self.ends_in(inputs[0], ends) if call.name in PASSED and len(inputs) == 1 else None

    def pads(self, shortcut: Value) -> bool:
        """Return whether a shortcut pads with channels of zeros."""
        call = self.maker.get(shortcut.number)
        return call is not None and call.name == "constant_pad_nd"

    def leaves_and_joins(self, branch: Value, shortcut: Value) -> bool:
        """Return whether the branch starts at the shortcut, or both start at one value.

        In the second case, the shortcut has at most one layer and the branch has more.
        """
        before = self.ancestors(branch)
        further = before - self.ancestors(branch, layers=1)
        return shortcut.number in before or bool(further & self.ancestors(shortcut, layers=1))

    def is_normed_beside(self, branch: Value, shortcut: Value) -> bool:
        """Return whether both read one input: the branch by a layer with a norm, the shortcut by one without."""
        norm, other = self.maker.get(branch.number), self.maker.get(shortcut.number)
        if norm is None or other is None or norm.name not in NORMS or other.name not in LAYERS:
            return False
        layer = self.maker.get(next(norm.values()).number)
        return layer is not None and layer.name in LAYERS and bool({*layer.values()} & {*other.values()})

    def ancestors(self, value: Value, layers: float = float("inf")) -> set[int]:
        """Return the values that a value was computed from, through at most `layers` layers."""
        found: set[int] = set()
        waiting = [(value, layers)]
        while waiting:
            now, left = waiting.pop()
            call = self.maker.get(now.number)
            if call is None or (left := left - (call.name in LAYERS)) < 0:
                continue
            new = [v for v in call.values() if v.number not in found and v.number not in self.transposed]
            found |= {v.number for v in new}
            waiting += [(v, left) for v in new]
        return found
