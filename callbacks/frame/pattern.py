"""Rectangles that are tiled, rotated and sheared: the patterns of `AutoDropout` and their masks."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

Pair = tuple[int, int]
Sides = int | Pair


class Pattern(NamedTuple):
    """Tiles of features that are dropped.

    On tokens only the first of two lengths counts, and nothing is rotated or sheared.

    Attributes:
        size: height and width of a tile in cells, or one number for both, >= 0; 0: nothing is dropped.
        stride: cells between neighbouring tiles, down and across, >= 0.
        repeat: number of tiles, down and across, >= 1.
        rotate: degrees, clockwise.
        shear_x: cells that a row moves for each row from the centre.
        shear_y: cells that a column moves for each column from the centre.
        shared: one position for all channels of an example, or one for each.
        residual: drop the shortcut together with its branch.
    """

    size: Sides = 2
    stride: Sides = 3
    repeat: Sides = 2
    rotate: float = 0.0
    shear_x: float = 0.0
    shear_y: float = 0.0
    shared: bool = True
    residual: bool = False

    def sides(self) -> tuple[Pair, Pair, Pair]:
        """Return size, stride and repeat, each (down, across)."""
        return _pair(self.size), _pair(self.stride), _pair(self.repeat)

    def extent(self) -> Pair:
        """Return height and width of all tiles together, before they are rotated."""
        down, across = (r * (s + gap) - gap for s, gap, r in zip(*self.sides(), strict=True))
        return down, across

    def on_tokens(self) -> "Pattern":
        """Return the pattern along a map of L x 1."""
        size, stride, repeat = (v[0] for v in self.sides())
        return Pattern((size, min(size, 1)), (stride, 0), (repeat, 1), shared=self.shared)


def _pair(v: Sides) -> Pair:
    return (v, v) if isinstance(v, int) else (v[0], v[1])


def offsets(u: Tensor, pattern: Pattern, shape: Pair) -> Tensor:
    """Return where the first tile begins, so that all tiles are inside the map, or cover it if larger.

    Args:
        u: (..., 2), draws in [0, 1).
        pattern: see `Pattern`.
        shape: H and W.

    Returns:
        Cells down and across, (..., 2).
    """

    def begin(u: Tensor, room: int) -> Tensor:
        """Return a cell in [0, room], or in [room, 0] if room is negative."""
        return (u * (abs(room) + 1)).long().clamp_max(abs(room)) + min(room, 0)

    height, width = pattern.extent()
    down, across = u.unbind(-1)
    return torch.stack([begin(down, shape[0] - height), begin(across, shape[1] - width)], -1)


def tile_mask(offset: Tensor, pattern: Pattern, shape: Pair) -> Tensor:
    """Return the mask m, 0 in the tiles and 1 elsewhere. Each cell is mapped to the tile that it falls in.

    Args:
        offset: where the first tile begins, (..., 2).
        pattern: see `Pattern`.
        shape: H and W.

    Returns:
        (..., H, W).
    """
    (size, stride, _), extent = pattern.sides(), pattern.extent()
    if 0 in size:
        return torch.ones(*offset.shape[:-1], *shape, dtype=torch.float32, device=offset.device)
    cells = (torch.arange(n, dtype=torch.float32, device=offset.device) + 0.5 for n in shape)
    y, x = (c - o[..., None] - e / 2 for c, o, e in zip(cells, offset.unbind(-1), extent, strict=True))
    y, x = y[..., :, None], x[..., None, :]  # from the common centre
    if pattern.rotate or pattern.shear_x or pattern.shear_y:  # else rows and columns are independent
        y, x = undo_shear_and_rotation(y, x, pattern)
    rows, columns = (in_tiles(*axis) for axis in zip((y, x), size, stride, extent, strict=True))
    return (~(rows & columns)).float()


def undo_shear_and_rotation(y: Tensor, x: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
    """Return where cells at these distances from the centre were before the pattern was sheared and rotated."""
    cos, sin = math.cos(math.radians(pattern.rotate)), math.sin(math.radians(pattern.rotate))
    x, y = cos * x + sin * y, cos * y - sin * x
    det = 1 - pattern.shear_x * pattern.shear_y
    return (y - pattern.shear_y * x) / det, (x - pattern.shear_x * y) / det


def in_tiles(along: Tensor, size: int, stride: int, extent: int) -> Tensor:
    """Return whether distances from the centre, along one side, are in one of the tiles."""
    cell = (along + extent / 2).floor()
    return (cell >= 0) & (cell < extent) & (cell.remainder(size + stride) < size)
