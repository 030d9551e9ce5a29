"""Receptive field and stride of every stage of any network, exact: through branches, shuffles, dilation and gates.

Every operation of one forward pass is replaced by what it does to the *places* that a number was made from: each number
is the first row (column) of the images that it depends on, a convolution or pooling is the least over its window, a sum
or product the least of its terms, padding and weights are nowhere (infinity). Views, concatenations and shuffles are
torch's own. A second image carries the places with the opposite sign, and so the last row. What a unit in the middle of
a long image sees is its receptive field, between the outermost pixels that reach it (a dilated kernel's holes count).

Limits: weights that happen to be zero count as if they were not, as in the literature, and so does what a mask keeps
attention from. A field of more than 8192 px, and a network that takes images of its own size only and sees all of them,
count as the whole image. Windows of attention have the window's size as their stride.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.frame.evaluating import evaluating

LENGTHS = (1024, 2048, 4096)  # sides of the images in pixels: the next where one is too short for some stage
NOWHERE = float("inf")
Seen = tuple[Tensor, Tensor]  # the first and the last row (column) that each unit of a stage sees
Sizes = int | Sequence[int]  # as operations of torch take them


class Field(NamedTuple):
    """What one unit of a stage sees, in pixels of the image, as (rows, columns).

    Attributes:
        size: between the first and the last pixel, both counted; None: the whole image.
        stride: between the fields of neighbours; None where all see the whole image.
    """

    size: tuple[int, int] | None
    stride: tuple[int, int] | None


def receptive_fields(network: nn.Module, image_size: int | None = None) -> dict[str, Field]:
    """Return the field of every stage, by name. Takes a second or two; weights may be on torch's meta device.

    Args:
        network: has `stages`, as a `Classifier` does.
        image_size: side of the images in pixels, where the network does not know it.

    Raises:
        TypeError: for a network that names no stages.
        NotImplementedError: for an operation of which it is not known what it sees.
    """
    stages = dict(getattr(network, "stages", {}))
    if not stages:
        raise TypeError(
            f"{type(network).__name__} names no stages: zoo.Classifier(network, stages={{'stage1': 'path'}})"
        )
    side = image_size or getattr(network, "image_size", None) or 224
    with evaluating(network), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        rows, columns = (_along(network, stages, side, wide) for wide in (False, True))
    return {name: _field(rows[name], columns[name]) for name in stages}


def _field(row: tuple[int, int] | None, column: tuple[int, int] | None) -> Field:
    if row is None or column is None:
        return Field(None, None)
    return Field((row[0], column[0]), (row[1], column[1]))


def _along(
    network: nn.Module, stages: dict[str, nn.Module], side: int, wide: bool
) -> dict[str, tuple[int, int] | None]:
    """(size, stride) along one side of the image, None for the whole; on images that are long on that side only."""
    short = min(side, 96)  # Inception-v3 takes 75 or more, BN-Inception multiples of 32
    found: dict[str, tuple[int, int] | None] = {}
    for length in LENGTHS:
        places = _places_or_none(network, stages, (short, length) if wide else (length, short), wide)
        if places is None:
            places, length = _places(network, stages, (side, side), wide), side
        found = {name: _middle(*place, length) for name, place in places.items()}
        if all(found.values()) or length == side:
            break
    return found


def _middle(first: Tensor, last: Tensor, length: int) -> tuple[int, int] | None:
    """Size and stride at a unit in the middle; None where all touch an end of what is seen at all.

    That is less than the image where strides leave pixels over at its end.
    """
    inside = ((first > first.min()) & (last < last.max())).nonzero().flatten()
    if not len(inside):
        return None
    i = inside[(inside - len(first) // 2).abs().argmin()]
    a, b = int(first[i]), int(last[i])
    later = first[first > a]
    return b - a + 1, int(later.min()) - a if len(later) else length


def _places_or_none(
    network: nn.Module, stages: dict[str, nn.Module], size: tuple[int, int], wide: bool
) -> dict[str, Seen] | None:
    """None for a network that takes images of one size only."""
    try:
        return _places(network, stages, size, wide)
    except NotImplementedError:
        raise
    except (RuntimeError, ValueError, AssertionError):
        return None


def _places(network: nn.Module, stages: dict[str, nn.Module], size: tuple[int, int], wide: bool) -> dict[str, Seen]:
    """First and last row (wide: column) that each unit sees, for the units along the long side, by stage."""
    h, w = size
    along = torch.arange(w).expand(h, w) if wide else torch.arange(h)[:, None].expand(h, w)
    images = torch.stack([along, -along]).float()[:, None].expand(2, 3, h, w).contiguous()
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    state = {name: _nowhere(tensor) for name, tensor in tensors.items()}
    seen: dict[str, Tensor] = {}
    hooks = [
        stage.register_forward_hook(lambda m, a, out, name=name: seen.update({name: _line(out, wide)}))
        for name, stage in stages.items()
    ]
    try:
        with _Places():
            functional_call(network, state, images, tie_weights=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (line[0], -line[1]) for name, line in seen.items()}


def _nowhere(tensor: Tensor) -> Tensor:
    """Without storage; tables of indices may point anywhere, as all that they point at is nowhere."""
    if tensor.is_floating_point():
        return torch.full((), NOWHERE).expand(tensor.shape)
    return torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)


def _line(out: Tensor, wide: bool) -> Tensor:
    """(2, h): the least over channels and the short side; of tokens (2, L, D), over the width."""
    return out.amin(-1) if out.ndim == 3 else out.amin((1, 2) if wide else (1, 3))


class _Places(TorchDispatchMode):
    """Runs every operation of torch by its rule."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
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
            f"receptive_fields does not know what torch.{name} sees: add it to zoo/tools/receptive.py"
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
    """As local response norm uses it: (N, 1, C, H, W), a window of channels."""
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


RULES: dict[str, Callable] = {
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
