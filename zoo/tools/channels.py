"""Group the channels of a network: those of a group can only be pruned together.

Each channel of each tensor gets a number. Channels that an operation ties together (a sum, the input and output of a
depthwise convolution, a norm) are joined. Channels read by an unknown operation are joined with number 0, the channels
that stay: nothing is guessed.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from timm.layers import BatchNormAct2d
from torch import nn

from zoo.tools.trace import Call, Trace, Value, Weight, trace

CONVS, NORMS = (nn.Conv2d,), (nn.BatchNorm2d, BatchNormAct2d)
ALONE = {  # act on each channel separately, and keep its position
    "relu", "hardtanh", "hardswish", "hardsigmoid", "silu", "sigmoid", "tanh", "gelu", "elu", "leaky_relu", "mish",
    "softplus", "clone", "alias", "detach", "_to_copy", "neg", "pow", "sqrt", "exp", "clamp", "clamp_min", "dropout",
    "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d",
}  # fmt: skip
READ_WEIGHTS = {"convolution", "native_batch_norm", "t", "addmm", "mm"}
Place = tuple[str, int]  # a weight's name, and one of its dimensions


class Channels:
    """The channels of a network, in groups.

    Attributes:
        places: the channels' numbers along each dimension of a weight.
        norm_of: a convolution's weight -> the weight (gamma) of the batch norm that reads its output.
    """

    def __init__(self, network: nn.Module, image_size: int):
        self.places: dict[Place, list[int]] = {}
        self.norm_of: dict[str, str] = {}
        self._parent = [0]
        self._of: dict[int, list[int]] = {}  # a value's number -> its channels
        self._maker: dict[int, Call] = {}
        self._seen: set[str] = set()
        self._transposed: dict[int, Weight] = {}
        self._follow(trace(network, image_size))
        self._keep_what_others_own(network)
        behind = getattr(network, "behind_outputs", ())  # read outputs, whose channels stay
        names = [name for name, _ in network.named_parameters() if not name.startswith(behind)]
        unseen = [name for name in names if name not in self._seen]
        if unseen:
            raise TypeError(
                f"{type(network).__name__} has layers that evaluation does not run ({unseen[0]} ...): no channels can "
                "be taken out, since it is unknown which ones these layers read"
            )

    # ---- joined numbers

    def find(self, number: int) -> int:
        """Return the number of a channel's group; 0: it stays."""
        while self._parent[number] != number:
            self._parent[number] = number = self._parent[self._parent[number]]
        return number

    def _new(self, n: int) -> list[int]:
        first = len(self._parent)
        self._parent += range(first, first + n)
        return [*range(first, first + n)]

    def _join(self, a: Iterable[int], b: Iterable[int]) -> None:
        for one, two in zip(a, b, strict=True):
            one, two = sorted((self.find(one), self.find(two)))
            self._parent[two] = one

    def _stay(self, numbers: list[int]) -> None:
        self._join(numbers, [0] * len(numbers))

    # ---- along the trace

    def _follow(self, seen: Trace) -> None:
        odd: set[str] = set()  # weights that an unknown operation reads
        for call in seen.calls:
            self._seen |= {*call.weights()}
            step = getattr(self, f"_through_{call.name.strip('_')}", None)
            if call.weights() and call.name not in READ_WEIGHTS:
                step = None
            if call.name in ALONE and len([*call.values()]) == 1 and not call.weights():
                self._of[call.outputs[0].number] = self._channels(next(call.values()))
            elif step is None or not step(call):
                for value in call.values():
                    self._stay(self._channels(value))
                odd |= {*call.weights()}
            self._maker |= {out.number: call for out in call.outputs}
        for out in seen.outputs:
            self._stay(self._channels(out))
        for (name, _), numbers in self.places.items():
            if name in odd:
                self._stay(numbers)

    def _channels(self, value: Value) -> list[int]:
        """Return the numbers along dimension 1; 0 for the images and for outputs of unknown operations."""
        return self._of.get(value.number, [0] * (value.shape[1] if len(value.shape) > 1 else 0))

    def _put(self, weight: Weight, dim: int, numbers: list[int]) -> list[int]:
        if (weight.name, dim) in self.places:  # used twice
            self._join(self.places[weight.name, dim], numbers)
        return self.places.setdefault((weight.name, dim), numbers)

    def _through_convolution(self, call: Call) -> bool:
        x, weight, bias, *_, transposed, _, groups = call.args
        inputs, out = self._channels(x), call.outputs[0]
        if not isinstance(weight, Weight) or transposed or groups not in (1, len(inputs)):
            return False
        if groups == 1:
            self._put(weight, 1, inputs)
            numbers = self._new(out.shape[1])
        elif out.shape[1] == groups:
            numbers = inputs
        else:
            return False
        self._of[out.number] = self._put(weight, 0, numbers)
        if bias is not None:
            self._put(bias, 0, numbers)
        return True

    def _through_native_batch_norm(self, call: Call) -> bool:
        x, *weights = call.args[:5]
        self._of[call.outputs[0].number] = numbers = self._channels(x)
        for weight in weights:
            if weight is not None:
                self._put(weight, 0, numbers)
        made = self._maker.get(x.number)
        if made and made.name == "convolution" and weights[0] is not None and isinstance(made.args[1], Weight):
            self.norm_of[made.args[1].name] = weights[0].name
        return True

    def _through_t(self, call: Call) -> bool:
        if not isinstance(call.args[0], Weight):
            return False
        self._transposed[call.outputs[0].number] = call.args[0]
        return True

    def _through_addmm(self, call: Call) -> bool:
        bias, x, matrix = call.args[:3]
        return isinstance(bias, Weight) and self._linear(call, x, matrix, bias)

    def _through_mm(self, call: Call) -> bool:
        x, matrix = call.args[:2]
        return self._linear(call, x, matrix, None)

    def _linear(self, call: Call, x: Value, matrix: Value, bias: Weight | None) -> bool:
        weight = self._transposed.get(getattr(matrix, "number", -1))
        if weight is None:
            return False
        self._put(weight, 1, self._channels(x))
        numbers = self._put(weight, 0, self._new(call.outputs[0].shape[1]))
        self._of[call.outputs[0].number] = numbers
        if bias is not None:
            self._put(bias, 0, numbers)
        return True

    def _through_add(self, call: Call) -> bool:
        values = [arg for arg in call.args[:2] if isinstance(arg, Value)]
        if any(len(value.shape) != len(call.outputs[0].shape) for value in values):
            return False
        full = [self._channels(value) for value in values if value.shape[1] == call.outputs[0].shape[1]]
        for other in full[1:]:
            self._join(full[0], other)
        self._of[call.outputs[0].number] = full[0]
        return True

    _through_sub = _through_mul = _through_div = _through_add

    def _through_mean(self, call: Call) -> bool:
        x, dims = call.args[0], call.args[1] if len(call.args) > 1 else None
        if not dims or {dim % len(x.shape) for dim in dims} & {0, 1}:
            return False
        self._of[call.outputs[0].number] = self._channels(x)
        return True

    def _through_view(self, call: Call) -> bool:
        x, out = call.args[0], call.outputs[0]
        channels, (before, after) = self._channels(x), (x.shape, out.shape)
        if len(after) < 2 or before[0] != after[0]:
            return False
        if len(after) == 2 and channels:  # (N, C, H, W) -> (N, C H W)
            channels = [number for number in channels for _ in range(after[1] // len(channels))]
        if len(channels) != after[1]:
            return False
        self._of[out.number] = channels
        return True

    _through_unsafe_view = _through_view

    def _through_slice(self, call: Call) -> bool:
        given: list[Any] = [*call.args, *[None] * (5 - len(call.args))]
        x, dim, start, end, step = given
        channels = self._channels(x)
        self._of[call.outputs[0].number] = channels[start:end:step] if dim in (1, 1 - len(x.shape)) else channels
        return True

    def _through_cat(self, call: Call) -> bool:
        tensors, dim = call.args[0], call.args[1] if len(call.args) > 1 else 0
        if dim not in (1, 1 - len(call.outputs[0].shape)) or not all(isinstance(t, Value) for t in tensors):
            return False
        self._of[call.outputs[0].number] = [number for tensor in tensors for number in self._channels(tensor)]
        return True

    def _through_constant_pad_nd(self, call: Call) -> bool:
        x, out = call.args[0], call.outputs[0]
        if out.shape[:2] != x.shape[:2]:
            return False
        self._of[out.number] = self._channels(x)
        return True

    # ---- which channels can be pruned

    def _keep_what_others_own(self, network: nn.Module) -> None:
        """Keep the channels of weights in modules that are not torch's own layers: they would no longer fit."""
        own = {*CONVS, *NORMS, nn.Linear}
        for (name, _), numbers in self.places.items():
            module = network.get_submodule(name.rpartition(".")[0])
            if type(module) not in own:
                self._stay(numbers)

    def groups(self, network: nn.Module) -> list[dict[int, list[tuple[str, int]]]]:
        """Return tied layers with their prunable channels: number -> where the channel is made.

        A channel is made at the (weight, index) of each convolution or linear layer that outputs it.
        """
        made: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for (name, dim), numbers in self.places.items():
            module = network.get_submodule(name.rpartition(".")[0])
            if dim == 0 and name.endswith("weight") and not isinstance(module, NORMS):
                for i, number in enumerate(numbers):
                    if self.find(number):
                        made[self.find(number)].append((name, i))
        layers: dict[tuple[str, ...], dict[int, list[tuple[str, int]]]] = defaultdict(dict)
        for number, where in made.items():
            names = tuple(dict.fromkeys(name for name, _ in where))
            if any(isinstance(network.get_submodule(name.rpartition(".")[0]), CONVS) for name in names):
                layers[names][number] = where
        return [*layers.values()]
