"""Batches at another size, on the device where they are."""

import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), bilinear, antialiased as Pillow does; the batch itself where the size is right."""
    if images.shape[-2:] == size:
        return images
    # in float32: torch has no such kernel for bfloat16 on processors
    resized = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized.to(images.dtype)


def nearest_multiple(length: float, of: int) -> int:
    """The multiple of `of` that is nearest to a length, at least `of`."""
    return max(of, round(length / of) * of)
