"""Masks of rectangles in a batch of images, one rectangle per image, without a loop."""

import torch
from torch import Tensor


def boxes(top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks of rectangles, clipped at the image's border: bool (N, 1, H, W).

    Args:
        top, left: (N,) the first row and column, in pixels; may lie outside.
        height, width: (N,) or (), in pixels; 0 for none.
        size: H and W.
    """
    rows = torch.arange(size[0], device=top.device) - top[:, None]
    columns = torch.arange(size[1], device=top.device) - left[:, None]
    inside_rows = (rows >= 0) & (rows < height.reshape(-1, 1))
    inside_columns = (columns >= 0) & (columns < width.reshape(-1, 1))
    # a product of numbers takes a third of the time of an `and` of booleans
    ones = inside_rows.view(torch.uint8)[:, None, :, None] * inside_columns.view(torch.uint8)[:, None, None, :]
    return ones.view(torch.bool)
