"""Name what a network computes outside of layers: sums, products, attention, pooling by `mean`, shuffles, ..."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx
from torch.utils._pytree import tree_leaves

from zoo.tools.diagrams.graph import AFTER, CIRCLE, LAYER, MATMUL, SPLIT
from zoo.tools.diagrams.words import conv_words, pool_words, size_words

Named = tuple[str, str]  # words, kind of box

PASSED = {  # what they give is what they get, seen in another way
    "view", "reshape", "permute", "transpose", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as",
    "getitem", "unbind", "contiguous", "clone", "dropout", "to", "_to_copy", "detach", "detach_", "alias", "select",
    "slice", "movedim", "mT", "t", "repeat",
    "stack", "pad", "lift_fresh_copy", "split_with_sizes",
}  # fmt: skip
AFTERS = {
    "relu": "ReLU", "sigmoid": "sigmoid", "tanh": "tanh", "gelu": "GELU", "silu": "SiLU", "hardswish": "h-swish",
    "hardsigmoid": "h-sigmoid", "hardtanh": "ReLU6", "softmax": "softmax", "log_softmax": "log softmax", "exp": "exp",
    "batch_norm": "BN", "layer_norm": "LN", "group_norm": "GN",
}  # fmt: skip
FACTORIES = {"ones_like", "zeros_like", "full_like", "new_zeros", "new_ones", "new_full", "arange", "zeros", "ones"}
CIRCLES = {"add": "+", "mul": "×", "sub": "−", "div": "÷"}
ATTENTION = "softmax(QKᵀ/√d)V"


def name_of(node: fx.Node) -> str:
    """Return the name of an operation without its overload, and without the underscore of its in-place form."""
    target: Any = node.target
    name: str = getattr(getattr(target, "overloadpacket", target), "__name__", str(target))
    return name if name.startswith("_") else name.removesuffix("_")


def value(node: Any) -> Any:
    """Return the tensor, without numbers, that a node gives; None if it gives none."""
    return node.meta.get("val") if isinstance(node, fx.Node) else None


def describe(node: fx.Node, sources: int, constant: str) -> Named | None:
    """Return words and kind of an operation; None if it only passes on what it reads.

    Args:
        node: of a graph that `torch.export` made.
        sources: how many boxes it reads.
        constant: name of a parameter that it reads, or the number that it adds or multiplies by; "" if there is none.
    """
    name = name_of(node)
    if name == "transpose" and _shuffles(node):
        return "channel shuffle", LAYER
    if name in RULES:
        return RULES[name](node)
    if name in PASSED:
        return None
    if name in CIRCLES and sources < 2:
        return (f"{CIRCLES[name]} {constant}", AFTER) if constant else None
    if name in CIRCLES:
        return CIRCLES[name], CIRCLE
    return (AFTERS[name], AFTER) if name in AFTERS else (name.strip("_").replace("_", " "), LAYER)


def _shuffles(node: fx.Node) -> bool:
    """Whether the rows and columns of a table of channels are exchanged: (N, rows, columns, H, W)."""
    x = value(node.args[0])
    return bool(x.ndim == 5 and {d % 5 for d in tree_leaves(node.args[1:3])} == {1, 2})


def _chunk(node: fx.Node) -> Named | None:
    x = value(node.args[0])
    return ("channel split", SPLIT) if x.ndim == 4 else None


def _over(word: str) -> Callable[[fx.Node], Named]:
    def words(node: fx.Node) -> Named:
        x, given = value(node.args[0]), tree_leaves(node.args[1:2])
        dims = {d % x.ndim for d in given}
        what = {(2, 3): f"global {word} pool", (1,): f"{word} over channels"} if x.ndim == 4 else {}
        return what.get(tuple(sorted(dims)), word), LAYER

    return words


def _conv(node: fx.Node) -> Named:
    x, weight = value(node.args[0]), value(node.args[1])
    given: Sequence[Any] = [*node.args[3:], *(1, 0, 1, 1)[len(node.args[3:]) :]]
    stride, _, dilation, groups = given
    return conv_words(x.shape[1], weight.shape[0], tuple(weight.shape[2:]), stride, dilation, groups), LAYER


def _linear(node: fx.Node) -> Named:
    c_out, c_in = value(node.args[1]).shape
    return f"linear {c_in} → {c_out}", LAYER


def _max_pool(node: fx.Node) -> Named:
    kernel = node.args[1]
    stride = node.args[2] if len(node.args) > 2 and node.args[2] else kernel
    return pool_words("max", tree_leaves(kernel), tree_leaves(stride)), LAYER


def _up(node: fx.Node) -> Named:
    before, after = value(node.args[0]).shape[-1], value(node).shape[-1]
    return f"upsample ×{after / before:g}", LAYER


def _says(words: str, kind: str = LAYER) -> Callable[[fx.Node], Named]:
    return lambda node: (words, kind)


RULES: dict[str, Callable[[fx.Node], Named | None]] = {
    "scaled_dot_product_attention": _says(ATTENTION),
    **dict.fromkeys(("matmul", "bmm", "mm"), _says("matmul", MATMUL)),
    "chunk": _chunk,
    "cat": _says("concat"),
    "roll": _says("cyclic shift"),
    "gather": _says("choose"),
    "argsort": _says("sort"),
    "rsub": lambda node: (f"{node.args[1]} − x", AFTER),
    "mean": _over("average"),
    "amax": _over("max"),
    "sum": _over("sum"),
    "conv2d": _conv,
    "linear": _linear,
    "max_pool2d": _max_pool,
    "adaptive_avg_pool2d": lambda node: (f"average pool to {size_words(tree_leaves(node.args[1]))}", LAYER),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_nearest2d"), _up),
}
