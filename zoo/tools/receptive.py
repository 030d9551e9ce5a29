"""Compute the exact receptive field and stride of stages: through branches, shuffles, dilation and gates.

One forward pass runs on positions instead of values: each number is the first row (column) of the images that it
depends on. A convolution or pooling takes the minimum over its window, a sum or product the minimum of its terms;
padding and weights are infinity. Views, concatenations and shuffles are torch's own. A second image carries the
positions with the opposite sign, which gives the last row. The receptive field is that of a unit in the middle of a
long image, between the outermost pixels that reach it (holes of a dilated kernel count).

Limits: weights that happen to be zero count, as in the literature, and so do positions that a mask hides from
attention. A field of more than 8192 px counts as the whole image, and so does a network that takes only one image size
and sees all of it. The stride of attention in windows is the window's size.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoo.frame.evaluation import evaluating
from zoo.tools.places import NOWHERE, Places

LENGTHS = (1024, 2048, 4096)  # sides of the images in pixels: the next is tried if one is too short for a stage
Seen = tuple[Tensor, Tensor]  # the first and the last row (column) that each unit of a stage sees


class Field(NamedTuple):
    """The receptive field of one unit of a stage, in pixels of the image, as (rows, columns).

    Attributes:
        size: from the first to the last pixel, both included; None: the whole image.
        stride: distance between the fields of neighbours; None if all see the whole image.
    """

    size: tuple[int, int] | None
    stride: tuple[int, int] | None


def receptive_fields(network: nn.Module, image_size: int | None = None) -> dict[str, Field]:
    """Return the field of every stage, by name. It takes a second or two; weights may be on torch's meta device.

    Args:
        network: has `stages`, as a `Classifier` does.
        image_size: side of the images in pixels, if the network does not know it.

    Raises:
        TypeError: the network names no stages.
        NotImplementedError: an operation has no rule.
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
    """Return (size, stride) along one side, on images that are long on that side only; None for the whole image."""
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
    """Return size and stride at a unit in the middle; None if all units reach an end of the visible range.

    The visible range is shorter than the image if strides leave out pixels at its end.
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
    """Return the positions; None for a network that takes only one image size."""
    try:
        return _places(network, stages, size, wide)
    except NotImplementedError:
        raise
    except (RuntimeError, ValueError, AssertionError):
        return None


def _places(network: nn.Module, stages: dict[str, nn.Module], size: tuple[int, int], wide: bool) -> dict[str, Seen]:
    """Return the first and last row (wide: column) that each unit along the long side sees, by stage."""
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
        with Places():
            functional_call(network, state, images, tie_weights=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (line[0], -line[1]) for name, line in seen.items()}


def _nowhere(tensor: Tensor) -> Tensor:
    """Replace weights by tensors without storage. Indices can be arbitrary, because all weights are at infinity."""
    if tensor.is_floating_point():
        return torch.full((), NOWHERE).expand(tensor.shape)
    return torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)


def _line(out: Tensor, wide: bool) -> Tensor:
    """Return the minimum over channels and the short side, (2, h); of tokens (2, L, D), over the width."""
    return out.amin(-1) if out.ndim == 3 else out.amin((1, 2) if wide else (1, 3))
