"""Resizing of bytes to bytes: within one level of Pillow, much faster than with floats.

torch's antialiased kernel for uint8 is fast in channels_last order only: 925 images a second, decoding included, where
Pillow's way reaches 632. Without antialiasing the result is wrong by up to 148 levels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from datamodules.frame.choices import validate_choice

MODES = ("bilinear", "bicubic")
MAX_ENLARGED = 1 << 24  # pixels: 50 MB; a strip of 1 x 300,000 pixels would become 59 GB


def resize(image: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """Resize uint8 (C, H, W) of any strides to uint8 (C, height, width), channels_last strides, antialiased."""
    pixels = image.permute(1, 2, 0).contiguous()[None]  # torch would not see image[None] as channels_last
    return F.interpolate(pixels.permute(0, 3, 1, 2), size=(height, width), mode=mode, antialias=True)[0]


def short_side(size: Sequence[int], short: int) -> tuple[int, int]:
    """Return height and width after resizing the short side; the long one is rounded down, as in torchvision.

    Args:
        size: height and width of the image.
        short: new short side, in pixels.
    """
    height, width = size
    if height <= width:
        return short, int(short * width / height)
    return int(short * height / width), short


def resize_short(image: Tensor, short: int, mode: str = "bilinear") -> Tensor:
    """Resize uint8 (C, H, W) so that its short side is `short`; see `trim` for a very long image."""
    image = trim(image, short)
    return resize(image, *short_side(image.shape[-2:], short), mode)


def trim(image: Tensor, short: int) -> Tensor:
    """Return the image, or only its middle if the resized image would have more than `MAX_ENLARGED` pixels.

    Args:
        image: uint8 (C, H, W).
        short: new short side, in pixels.
    """
    height, width = image.shape[-2:]
    side = min(height, width)
    longest = max(side, side * MAX_ENLARGED // short**2)
    if short <= side or max(height, width) <= longest:
        return image
    rows, columns = min(height, longest), min(width, longest)
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[:, top : top + rows, left : left + columns]


def validate_mode(mode: str) -> str:
    """Return the mode. Raise a ValueError unless it is in MODES."""
    return validate_choice(mode, MODES, "interpolations of bytes")
