"""Grey and colour: luma as Pillow computes it, and three equal colours."""

import torch
from torch import Tensor

# ITU-R BT.601: L = .299 R + .587 G + .114 B, in whole numbers of 1/65536 as in Pillow's convert("L")
RED, GREEN, BLUE = 19595, 38470, 7471


def grey(images: Tensor) -> Tensor:
    """Return the luma of uint8 (..., 3, H, W) as uint8 (..., 1, H, W), the bytes of Pillow's `convert("L")`."""
    if images.shape[-3] == 1:
        return images
    red, green, blue = images.int().unbind(-3)
    return ((RED * red + GREEN * green + BLUE * blue + 0x8000) >> 16).to(torch.uint8).unsqueeze(-3)


def rgb(images: Tensor) -> Tensor:
    """Return three equal colours of grey uint8 (..., 1, H, W), as (..., 3, H, W)."""
    return torch.cat([images] * 3, -3)
