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

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoo.frame.evaluating import evaluating
from zoo.tools.places import NOWHERE, Places

LENGTHS = (1024, 2048, 4096)  # sides of the images in pixels: the next where one is too short for some stage
Seen = tuple[Tensor, Tensor]  # the first and the last row (column) that each unit of a stage sees


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
        with Places():
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
