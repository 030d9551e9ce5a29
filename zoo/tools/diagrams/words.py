"""Name layers as the papers' figures do: "3×3 conv, 64, stride 2", "7×7 depthwise, 96", "linear 384 → 1152"."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

NORMS = {"BatchNorm2d": "BN", "BatchNorm1d": "BN", "LayerNorm": "LN", "LayerNorm2d": "LN", "GroupNorm": "GN"}
ACTIVATIONS = {
    "ReLU": "ReLU", "ReLU6": "ReLU6", "GELU": "GELU", "SiLU": "SiLU", "Sigmoid": "sigmoid", "Tanh": "tanh",
    "Hardswish": "h-swish", "Hardsigmoid": "h-sigmoid", "Softmax": "softmax", "LogSoftmax": "log softmax",
    "LeakyReLU": "leaky ReLU", "ELU": "ELU", "SELU": "SELU", "Mish": "Mish", "PReLU": "PReLU", "Squash": "squash",
}  # fmt: skip
AFTERS = {name.lower(): words for name, words in (NORMS | ACTIVATIONS | {"LocalResponseNorm": "LRN"}).items()}


def pair(v: int | Sequence[int]) -> tuple[int, int]:
    """Return rows and columns of a size."""
    sizes = [v] if isinstance(v, int) else [*v]
    return (sizes[0], sizes[0]) if len(sizes) == 1 else (sizes[-2], sizes[-1])


def size_words(v: int | Sequence[int]) -> str:
    """Write a kernel's size as "3×3"."""
    rows, columns = pair(v)
    return f"{rows}×{columns}"


def conv_words(
    c_in: int,
    c_out: int,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> str:
    """Name a convolution by what it is and has, without what is 1."""
    depthwise = groups == c_in and groups > 1
    words = [f"{size_words(kernel)} {'depthwise' if depthwise else 'conv'}", str(c_out)]
    if groups > 1 and not depthwise:
        words.append(f"{groups} groups")
    return ", ".join([*words, *_unless_one(stride=stride, dilation=dilation)])


def pool_words(kind: str, kernel: int | Sequence[int], stride: int | Sequence[int]) -> str:
    """Name a pooling by its kind ("max", "average"), kernel and stride."""
    return ", ".join([f"{size_words(kernel)} {kind} pool", *_unless_one(stride=stride)])


def _unless_one(**sizes: int | Sequence[int]) -> list[str]:
    pairs = {name: pair(size) for name, size in sizes.items()}
    return [f"{name} {a if a == b else f'{a}×{b}'}" for name, (a, b) in pairs.items() if (a, b) != (1, 1)]


def _pool(kind: str) -> Callable[[Any], str]:
    return lambda m: pool_words(kind, m.kernel_size, m.stride)


def _adaptive(kind: str) -> Callable[[Any], str]:
    def words(m: Any) -> str:
        return f"global {kind} pool" if pair(m.output_size) == (1, 1) else f"{kind} pool to {size_words(m.output_size)}"

    return words


def _up(m: Any) -> str:
    return f"{size_words(m.kernel_size)} up-conv, {m.out_channels}, stride {pair(m.stride)[0]}"


def _conv(m: Any) -> str:
    return conv_words(m.in_channels, m.out_channels, m.kernel_size, m.stride, m.dilation, m.groups)


LAYERS: tuple[tuple[type[nn.Module], Callable[[Any], str]], ...] = (
    (nn.ConvTranspose2d, _up),
    (nn.Conv2d, _conv),
    (nn.Linear, lambda m: f"linear {m.in_features} → {m.out_features}"),
    (nn.MaxPool2d, _pool("max")),
    (nn.AvgPool2d, _pool("average")),
    (nn.AdaptiveAvgPool2d, _adaptive("average")),
    (nn.AdaptiveMaxPool2d, _adaptive("max")),
)


def module_words(module: nn.Module) -> tuple[str, bool] | None:
    """Return what a box says of a module, and whether it joins the box before it; None: it has no box."""
    name = type(module).__name__
    if isinstance(module, nn.Flatten | nn.Unflatten | nn.Identity):
        return None
    if isinstance(module, nn.Dropout | nn.Dropout2d):
        return ("dropout", True) if module.p else None
    for kind, words in LAYERS:
        if isinstance(module, kind):
            return words(module), False
    return (AFTERS[name.lower()], True) if name.lower() in AFTERS else (class_words(module), False)


def class_words(module: nn.Module) -> str:
    """Return what a module says of itself (`drawn_as`), else its class: "squeeze excite", "MLP", "InceptionA"."""
    name = type(module).__name__
    words = re.findall(r"[A-Z]+[a-z]*[0-9a-z]*", name) if re.search(r"[a-z][A-Z][a-z]", name) else [name]
    words = [word.lower() if word[1:].isalpha() and word[1:].islower() else word for word in words]
    return str(getattr(module, "drawn_as", " ".join(words)))


def shape_words(shape: Sequence[int]) -> str:
    """Write the shape of one image's features: "64 × 56 × 56"."""
    return " × ".join(map(str, shape[1:]))
