"""Read images with any number of channels: TIFF and .npy of 8, 16 or 32 bits, divided by given numbers."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datamodules.frame.decode import MAX_PIXELS, SUFFIXES, Unreadable, readable_formats, sample_bits

BAND_SUFFIXES = {*SUFFIXES, ".npy"}
MOST = 16  # channels
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the first bytes of TIFF and BigTIFF
NPY = b"\x93NUMPY"


def read_bands(data: bytes, name: str, channels: int, scale: Sequence[float]) -> Tensor:
    """Decode an image to float32 (C, H, W), each channel divided by its number.

    Args:
        data: the whole file. The format is recognised by its content, not its name.
        name: of the file, for messages.
        channels: C; a file with another number is an error.
        scale: (C,) the value of each channel that is mapped to 1.

    Raises:
        Unreadable: not an image, one that Pillow would reduce to 8 bits, or wrong channels or too many pixels.
    """
    try:
        pixels = channels_first(_pixels(data), channels)
    except Exception as error:  # each format raises its own kinds of error
        raise Unreadable(f"{name} cannot be read ({error}): repair or delete it") from error
    values = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))
    return values / torch.tensor(scale, dtype=torch.float32).view(-1, 1, 1)


def _pixels(data: bytes) -> NDArray[Any]:
    if data.startswith(NPY):
        return np.asarray(np.load(BytesIO(data), allow_pickle=False))
    if data.startswith(TIFF):
        return _tiff(data)
    with Image.open(BytesIO(data), formats=readable_formats()) as image:
        _check_pixels((image.height, image.width))
        if sample_bits(image, data) == 16 and image.mode.startswith("RGB"):
            raise ValueError("its colours have 16 bits, of which Pillow reads 8: save it as TIFF or .npy")
        plain = image.mode in ("L", "RGB", "F") or image.mode.startswith("I")
        return np.asarray(image if plain else image.convert("RGB"))


def _tiff(data: bytes) -> NDArray[Any]:
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: pip install tifffile") from error
    with tifffile.TiffFile(BytesIO(data)) as file:
        _check_pixels(file.series[0].shape)
        return np.asarray(file.asarray(series=0))


def _check_pixels(shape: Sequence[int]) -> None:
    if np.prod(shape, dtype=np.float64) > MAX_PIXELS * MOST:
        raise ValueError(f"its header gives {shape} pixels, more than {MAX_PIXELS:,} in all: shrink it")


def channels_first(pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    """Return (H, W), (H, W, C) or (C, H, W) as (C, H, W). Raise a ValueError for other shapes, and for non-numbers."""
    if pixels.ndim == 2:
        pixels = pixels[None]
    elif pixels.ndim == 3 and pixels.shape[2] == channels:
        pixels = pixels.transpose(2, 0, 1)
    if pixels.ndim != 3 or pixels.shape[0] != channels or pixels.dtype.kind not in "uif":
        raise ValueError(f"it holds {pixels.dtype} {pixels.shape}, not {channels} channels of numbers: give channels=")
    if not np.isfinite(pixels).all():
        raise ValueError("it holds NaN or infinite numbers: repair it")
    return pixels


def check_scale(scale: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """Return a number for each channel. Raise a ValueError unless they are > 0, one for all or one for each."""
    numbers = tuple(scale) if isinstance(scale, Sequence) else (scale,) * channels
    if len(numbers) != channels or min(numbers) <= 0:
        raise ValueError(f"scale must be a number above 0, or {channels} of them, one per channel, got {scale}")
    if not 1 <= channels <= MOST:
        raise ValueError(f"channels must be from 1 to {MOST}, got {channels}")
    return numbers
