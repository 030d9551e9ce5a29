"""Rules of `receptive_fields`: how each operation of torch acts on the positions that numbers depend on.

Each number is the first row (column) of the images that it depends on; weights and padding have position infinity.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

NOWHERE = float("inf")
Sizes = int | Sequence[int]  # as operations of torch take them


class Places(TorchDispatchMode):
    """Run every operation of torch by its rule."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        tensors = [a for a in args if isinstance(a, Tensor) and a.is_floating_point()]
        if name in RULES:
            return RULES[name](*args, **kwargs)
        if name in FACTORIES:
            out = func(*args, **kwargs)
            return out.fill_(NOWHERE) if out.is_floating_point() else out
        if (torch.Tag.pointwise in func.tags or name.removesuffix("_") in ACTIVATIONS) and tensors:
            out = tensors[0]
            for other in tensors[1:]:
                out = torch.minimum(out, other)
            return args[0].copy_(out) if name.endswith("_") else out.contiguous()
        if func.is_view or name in MOVES or not tensors:
            return func(*args, **kwargs)
        raise NotImplementedError(
            f"receptive_fields does not know what torch.{name} sees: add it to zoo/tools/places.py"
        )


def _window(
    x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool = False
) -> Tensor:
    """Return the minimum of each window: (N, C, H, W) -> (N, C, H', W')."""
    rows, columns = _pair(padding)
    x = F.pad(x, (columns, columns, rows, rows), value=NOWHERE)
    return -F.max_pool2d(-x.contiguous(), _pair(kernel), _pair(stride or kernel), 0, _pair(dilation), ceil_mode)


def _pair(v: Sizes) -> tuple[int, int]:
    sizes = [v] if isinstance(v, int) else [*v]
    return (sizes[0], sizes[0]) if len(sizes) == 1 else (sizes[-2], sizes[-1])


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Tensor:
    if transposed:
        raise NotImplementedError("receptive_fields: transposed convolutions are not handled")
    c_out, flat = weight.shape[0], x.ndim == 3
    if flat:  # one-dimensional: a map of one row
        x, weight = x.unsqueeze(2), weight.unsqueeze(2)
        stride, padding, dilation = [1, *stride], [0, *padding], [1, *dilation]
    least = x.unflatten(1, (groups, -1)).amin(2)
    out = _window(least, weight.shape[2:], stride, padding, dilation).repeat_interleave(c_out // groups, 1)
    return out.squeeze(2) if flat else out


def _max_pool(
    x: Tensor, kernel: Sizes, stride: Sizes = (), padding: Sizes = 0, dilation: Sizes = 1, ceil_mode: bool = False
) -> tuple[Tensor, Tensor]:
    out = _window(x, kernel, stride, padding, dilation, ceil_mode)
    return out, torch.zeros(out.shape, dtype=torch.long)


def _avg_pool(
    x: Tensor, kernel: Sizes, stride: Sizes = (), padding: Sizes = 0, ceil_mode: bool = False, *_: Any
) -> Tensor:
    return _window(x, kernel, stride, padding, 1, ceil_mode)


def _avg_pool3d(x: Tensor, kernel: list[int], stride: Sequence[int] = (), padding: Sizes = 0, *_: Any) -> Tensor:
    """Handle the average over channels in a local response norm: (N, 1, C, H, W)."""
    if list(kernel[1:]) != [1, 1] or any(v != 1 for v in stride or [1]):
        raise NotImplementedError("receptive_fields: average pooling in three dimensions is not handled")
    return _window(x[:, 0].flatten(2), (kernel[0], 1), 1, (_triple(padding)[0], 0), 1).view(
        x.shape[0], 1, -1, *x.shape[3:]
    )


def _triple(v: Sizes) -> list[int]:
    return [v] * 3 if isinstance(v, int) else list(v)


def _adaptive(x: Tensor, size: list[int]) -> Tensor:
    for dim, out in zip((-2, -1), _pair(size), strict=True):
        n = x.shape[dim]
        bounds = [(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]
        x = torch.cat([x.narrow(dim, a, b - a).amin(dim, keepdim=True) for a, b in bounds], dim)
    return x


def _reduce(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    return x.amin() if dim is None else x.amin(dim, keepdim=keepdim)


def _variance(x: Tensor, dim: Any = None, correction: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    return _reduce(x, dim, keepdim)


def _same(x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Apply a batch norm in eval mode."""
    return x, x.new_empty(0), x.new_empty(0)


def _layer_norm(x: Tensor, shape: list[int], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    out = x.amin(tuple(range(-len(shape), 0)), keepdim=True).expand_as(x).contiguous()
    return out, x.new_empty(0), x.new_empty(0)


def _group_norm(
    x: Tensor, weight: Any, bias: Any, n: int, c: int, pixels: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    out = x.reshape(n, groups, -1).amin(-1, keepdim=True).expand(n, groups, c // groups * pixels).reshape(x.shape)
    return out, x.new_empty(0), x.new_empty(0)


def _softmax(x: Tensor, dim: int, *_: Any) -> Tensor:
    return x.amin(dim, keepdim=True).expand_as(x).contiguous()


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    return torch.minimum(a.amin(-1, keepdim=True), b.amin(-2, keepdim=True))


RULES: dict[str, Callable[..., Any]] = {
    "convolution": _conv,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _avg_pool,
    "avg_pool3d": _avg_pool3d,
    "_adaptive_avg_pool2d": _adaptive,
    "adaptive_max_pool2d": lambda x, size: (_adaptive(x, size), None),
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _reduce),
    **dict.fromkeys(("var", "std"), _variance),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_with_update", "cudnn_batch_norm"),
        _same,
    ),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("mm", "bmm"), _matmul),
    "addmm": lambda bias, a, b, **_: _matmul(a, b),
    "baddbmm": lambda bias, a, b, **_: torch.minimum(bias, _matmul(a, b)),
    "constant_pad_nd": lambda x, pad, value=0: F.pad(x, pad, value=NOWHERE),
}
# pointwise too, though torch (hardtanh: torch 2.11) does not tag them so
ACTIVATIONS = {"hardswish", "hardtanh", "mish", "gelu", "_prelu_kernel"}
FACTORIES = {
    "empty",
    "zeros",
    "ones",
    "full",
    "new_empty",
    "new_zeros",
    "new_ones",
    "new_full",
    "zeros_like",
    "ones_like",
}
MOVES = {
    "cat", "copy_", "stack", "clone", "_unsafe_view", "_to_copy", "index_select", "index", "repeat", "roll", "flip",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "reflection_pad2d",
    "replication_pad2d", "gather",
}  # fmt: skip
