"""Rectangles in a batch of images, another in each, without a loop over them."""

import torch
from torch import Tensor


def boxes(top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks of rectangles, cut off at the image's edges: bool (N, 1, H, W).

    Args:
        top, left: (N,) the first row and column, in pixels; may lie outside.
        height, width: (N,) or (), in pixels; 0 for none.
        size: H and W.
    """
    rows = torch.arange(size[0], device=top.device) - top[:, None]
    columns = torch.arange(size[1], device=top.device) - left[:, None]
    inside_rows = (rows >= 0) & (rows < height.reshape(-1, 1))
    inside_columns = (columns >= 0) & (columns < width.reshape(-1, 1))
    # as numbers: a product of these takes a third of the time of an `and` of truth values
    ones = inside_rows.view(torch.uint8)[:, None, :, None] * inside_columns.view(torch.uint8)[:, None, None, :]
    return ones.view(torch.bool)
