"""Read pictures of any numbers and channels, such as a satellite's bands: TIFF, .npy, arrays and tensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from zoo.frame.pictures import FORMATS, Named, Unreadable

DEPTH = 24  # byte of a PNG that tells the bits of a sample


def read_numbers(named: Named, channels: int, scale: Sequence[float] | None) -> Tensor:
    """Read one picture as (C, H, W), float32 in its own units; uint8 without a scale.

    Raises:
        Unreadable: no picture, or one of other channels, of 16-bit colours that Pillow reads as 8, or of no bytes
            without a scale.
        ValueError: a tensor of another number of channels.
    """
    if isinstance(named.source, Tensor):
        picture = named.source
        if len(picture) != channels:
            raise ValueError(f"{named.name} has {len(picture)} channels, the network takes {channels}")
    else:
        try:
            picture = torch.from_numpy(_channels_first(_pixels(named.source), channels, scale is None))
        except Exception as error:  # each format raises its own kinds of error
            raise Unreadable(f"{named.name} cannot be read ({error})") from error
    return picture if scale is None else picture.float()


def _pixels(source: Any) -> NDArray[Any]:
    if isinstance(source, Image.Image):
        return np.asarray(source)
    path = Path(source)
    if path.suffix.lower() == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if path.suffix.lower() in (".tif", ".tiff"):
        return _tiff(path)
    with Image.open(path, formats=FORMATS) as picture:
        if picture.format == "PNG" and picture.mode.startswith("RGB") and path.read_bytes()[DEPTH] == 16:
            raise ValueError("its colours have 16 bits, of which Pillow reads 8: save it as TIFF or .npy")
        plain = picture.mode in ("L", "RGB", "F") or picture.mode.startswith("I")
        return np.asarray(picture if plain else picture.convert("RGB"))


def _tiff(path: Path) -> NDArray[Any]:
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}: pip install tifffile") from error
    return np.asarray(tifffile.imread(path, series=0))


def _channels_first(pixels: NDArray[Any], channels: int, bytes_only: bool) -> NDArray[Any]:
    """Return (H, W), (H, W, C) or (C, H, W) as (C, H, W), float32 unless they are bytes."""
    if pixels.ndim == 2:
        pixels = pixels[None]
    elif pixels.ndim == 3 and pixels.shape[2] == channels:
        pixels = pixels.transpose(2, 0, 1)
    if pixels.ndim != 3 or pixels.shape[0] != channels or pixels.dtype.kind not in "uif":
        raise ValueError(f"it holds {pixels.dtype} {pixels.shape}, not {channels} channels of numbers")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if bytes_only:
        raise ValueError(f"it holds {pixels.dtype}, the model was trained on bytes: train it with scale=")
    if not np.isfinite(pixels).all():
        raise ValueError("it holds NaN or infinite numbers: repair it")
    return np.ascontiguousarray(pixels, np.float32)
