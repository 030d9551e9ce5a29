"""Cut a network in which some modules use only their first features down to a smaller network.

Layers behind those modules no longer read the other features, and layers that only make those features lose them. One
pass (`zoo.tools.trace`) finds both. The smaller network computes the same as the whole one with zeros for those
features.
"""

import copy
from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, library, nn

from zoo.frame.surgery import operate, operation, surgery_record
from zoo.tools.trace import Call, Value, Weight, trace

# 0 -> 0 and s x -> s f(x) for each channel: masks and their scales pass through
HOMOGENEOUS = {
    "relu", "leaky_relu", "clone", "alias", "detach", "_to_copy", "neg", "dropout", "max_pool2d_with_indices",
    "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d",
}  # fmt: skip
# act on each channel separately: channels that are not read later can be left out
ALONE = HOMOGENEOUS | {
    "hardtanh", "hardswish", "hardsigmoid", "silu", "sigmoid", "tanh", "gelu", "elu", "mish", "softplus", "clamp",
    "clamp_min",
}  # fmt: skip


@library.custom_op("zoo::cut_here", mutates_args=())
def cut_here(x: Tensor) -> Tensor:
    """Mark a tensor in a trace; do nothing."""
    return x.clone()


@cut_here.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


# ---- layers that read the first features of their input, and pad their output with zeros to the old width


def _pad_to(y: Tensor, width: int | None, dim: int) -> Tensor:
    """Pad with zeros to a width; None: return unchanged."""
    return y if width is None else F.pad(y, (0, 0) * (-1 - dim % -y.ndim) + (0, width - y.shape[dim]))


class FirstConv2d(nn.Conv2d):
    """Convolve the first `in_channels` channels of the input."""

    wide: int | None

    def forward(self, x: Tensor) -> Tensor:
        return _pad_to(super().forward(x[:, : self.in_channels]), self.wide, 1)


class FirstLinear(nn.Linear):
    """Apply a linear layer to the first `in_features` features of the input."""

    wide: int | None

    def forward(self, x: Tensor) -> Tensor:
        return _pad_to(super().forward(x[..., : self.in_features]), self.wide, -1)


class FirstBatchNorm2d(nn.BatchNorm2d):
    """Normalise the first `num_features` channels of the input."""

    wide: int | None

    def forward(self, x: Tensor) -> Tensor:
        return _pad_to(super().forward(x[:, : self.num_features]), self.wide, 1)


FIRST: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: FirstConv2d,
    nn.Linear: FirstLinear,
    nn.BatchNorm2d: FirstBatchNorm2d,
}


# ---- the cut


def cut(
    model: nn.Module, modules: Sequence[str], width: int, before: bool = False, image_size: int | None = None
) -> nn.Module:
    """Return a copy of the model that keeps only the first features of some modules, times their fraction of all.

    Its checkpoints record the cut: `zoo.load` returns the smaller network.

    Args:
        model: any network of images, such as `ResNet`; unchanged.
        modules: paths of modules whose outputs are cut: maps (N, C, H, W) or vectors (N, D).
        width: number of features kept; a module with no more keeps all.
        before: cut the inputs of these modules instead of their outputs.
        image_size: side of the images in pixels, if the model does not know it.

    Raises:
        ValueError: a width below 1, an unknown image size, or a network that was cut before.
        TypeError: something other than a convolution or linear layer, after activations like ReLU and pooling, reads
            the features: its output would not be that of zeros.
    """
    if width < 1:
        raise ValueError(f"cut: width must be at least 1, not {width}")
    if (size := image_size or getattr(model, "image_size", None)) is None:
        raise ValueError("how large are the images? say image_size=...")
    if any(name == "cut" for name, _ in surgery_record(model)):
        raise ValueError("cut: this network has been cut before; cut the whole one, to the smaller width")
    smaller = copy.deepcopy(model)
    arguments = {"modules": list(modules), "width": width, "before": before, "image_size": size}
    operate(smaller, "cut", **arguments)
    return smaller


@operation("cut")
@torch.no_grad()
def cut_in_place(network: nn.Module, modules: Sequence[str], width: int, before: bool, image_size: int) -> None:
    """Shorten the network itself to the first `width` features at some modules. See `cut`.

    Args:
        network: changed in place.
        modules: their paths.
        width: number of features kept.
        before: cut the modules' inputs instead of their outputs.
        image_size: side of the images in pixels.
    """
    found = [network.get_submodule(name) for name in modules]
    if before:
        hooks = [m.register_forward_pre_hook(lambda m, given: (cut_here(given[0]), *given[1:])) for m in found]
    else:
        hooks = [m.register_forward_hook(lambda m, given, out: cut_here(out)) for m in found]
    try:
        calls, outputs = (seen := trace(network, image_size)).calls, seen.outputs
    finally:
        for hook in hooks:
            hook.remove()
    plan = _Plan(network, calls, outputs, width)
    for path in {*plan.columns, *plan.rows}:
        _shorten(network.get_submodule(path), plan.columns.get(path), plan.rows.get(path))


class _Plan:
    """The columns (inputs that are zero) and rows (outputs that nothing reads) that each layer loses.

    Attributes:
        columns: path of a layer -> number of inputs kept, and the factor of their weights.
        rows: path of a layer -> number of outputs kept, and the width that other layers need, or None.
    """

    def __init__(self, network: nn.Module, calls: list[Call], outputs: list[Value], width: int):
        self.network, self.width = network, width
        self.columns: dict[str, tuple[int, float]] = {}
        self.rows: dict[str, tuple[int, int | None]] = {}
        self._uses = Counter(name for call in calls for name in call.weights())
        self._transposed = {c.outputs[0].number: c.args[0].name for c in calls if c.name == "t" and c.weights()}
        self._first: dict[int, tuple[int, float]] = {}  # a value's number -> number of first features; the others are 0
        calls = [call for call in calls if call.outputs]
        for call in calls:
            self._forwards(call)
        self._live = {
            value.number: value.shape[1] for value in outputs
        }  # ... -> number of first features that are read
        self._whole = {value.number for value in outputs}  # values whose width other layers need
        for call in reversed(calls):
            self._backwards(call)

    def _layer(self, call: Call) -> tuple[str, Value] | None:
        """Return path and input of a convolution or linear layer that can lose inputs and outputs."""
        if call.name == "convolution":
            x, weight, *_, transposed, _, groups = call.args
            return None if transposed or groups > 1 else self._own_weight(weight, x)
        if call.name in ("addmm", "mm"):
            x, matrix = call.args[-2:] if call.name == "mm" else call.args[1:3]
            return self._own_weight(Weight(self._transposed.get(getattr(matrix, "number", 0), "")), x)
        return None

    def _own_weight(self, weight: Weight | Value | None, x: Value) -> tuple[str, Value] | None:
        """Return path and input of the weight's layer; None for weights read twice, or not of torch's own layers."""
        if not isinstance(weight, Weight) or self._uses[weight.name] != 1:
            return None
        path, _, name = weight.name.rpartition(".")
        return (path, x) if name == "weight" and type(self.network.get_submodule(path)) in FIRST else None

    def _forwards(self, call: Call) -> None:
        values = [*call.values()]
        cut = [value for value in values if value.number in self._first]
        if call.name == "cut_here":
            count = values[0].shape[1]
            if self.width < count:
                self._first[call.outputs[0].number] = self.width, count / self.width
        elif not cut:
            return
        elif (layer := self._layer(call)) and layer[1] is cut[0]:
            self.columns[layer[0]] = self._first[cut[0].number]
        elif times := self._times(call, HOMOGENEOUS):
            first, scale = self._first[cut[0].number]
            self._first[call.outputs[0].number] = first * times, scale
        else:
            raise TypeError(
                f"{type(self.network).__name__} cannot be cut there: {call.name!r} reads the features, and does not "
                "map zeros to zeros. Cut where a convolution or linear layer reads them, directly or behind ReLU and "
                "pooling: before the classifier, or where=('path.of.module',)"
            )

    def _times(self, call: Call, alone: set[str]) -> int:
        """Return the outputs per feature if features stay separate and in order: 1, H W for flat maps; else 0."""
        values = [*call.values()]
        if len(values) != 1 or call.weights():
            return 0
        before, after = values[0].shape, call.outputs[0].shape
        if call.name == "view" and len(after) == 2 and before[0] == after[0] and len(before) > 1:
            return after[1] // before[1]
        dims = call.args[1] if call.name == "mean" and len(call.args) > 1 else ()
        averages = bool(dims) and not {dim % len(before) for dim in dims} & {0, 1}
        return int((call.name in alone or averages) and before[:2] == after[:2])

    def _backwards(self, call: Call) -> None:
        values, out = [*call.values()], call.outputs[0]
        live, whole = self._live.get(out.number, 0), out.number in self._whole
        if call.name == "cut_here":
            self._read(values[0], min(self.width, values[0].shape[1]), False)
        elif layer := self._layer(call):
            path, x = layer
            if 0 < live < out.shape[1]:
                self.rows[path] = live, out.shape[1] if whole else None
            self._read(x, self.columns.get(path, x.shape[1:2])[0], path not in self.columns)
        elif call.name == "native_batch_norm" and (norm := self._own_weight(call.args[1], values[0])):
            if 0 < live < out.shape[1]:
                self.rows[norm[0]] = live, out.shape[1] if whole else None
            self._read(values[0], live, False)
        elif times := self._times(call, ALONE):
            self._read(values[0], -(-live // times), whole)
        elif call.name == "add" and len(values) == 2 and values[0].shape == values[1].shape == out.shape:
            for value in values:
                self._read(value, live, True)
        elif call.name != "t":
            for value in values:
                self._read(value, value.shape[1] if len(value.shape) > 1 else 0, True)

    def _read(self, value: Value, live: int, whole: bool) -> None:
        self._live[value.number] = max(self._live.get(value.number, 0), live)
        if whole:
            self._whole.add(value.number)


def _shorten(layer: nn.Module, columns: tuple[int, float] | None, rows: tuple[int, int | None] | None) -> None:
    """Remove the last inputs and outputs of a layer; its weights keep their names."""
    count, wide = rows or (None, None)
    for name in ("weight", "bias", "running_mean", "running_var"):
        old = getattr(layer, name, None)
        if old is None:
            continue
        new = old[:count]
        if name == "weight" and columns is not None:
            new = new[:, : columns[0]] * columns[1]
        new = new.clone()
        setattr(layer, name, nn.Parameter(new, requires_grad=old.requires_grad) if name in ("weight", "bias") else new)
    if isinstance(layer, nn.Conv2d):
        layer.out_channels, layer.in_channels = layer.weight.shape[:2]
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.BatchNorm2d):
        layer.num_features = len(layer.weight)
    layer.__class__ = FIRST[type(layer)]
    vars(layer)["wide"] = wide
