"""Read pictures as uint8 (C, H, W): files, folders, PIL images, arrays, tensors."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF")  # formats that are opened; none that runs code
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
}
TWELVE_BITS = 4096


class Unreadable(ValueError):
    """A picture cannot be read; the message names the file."""


class Named(NamedTuple):
    """A picture that is not read yet, and its name for messages."""

    name: str
    source: Any  # a path, a PIL image, or a uint8 tensor (C, H, W)


def find(inputs: Any, numbers: bool = False) -> list[Named]:
    """List all pictures among the inputs, folders searched to any depth, in alphabetical order.

    Args:
        inputs: a path of a picture or a folder, a PIL image, a uint8 array (H, W), (H, W, C) or (N, H, W, C), a uint8
            tensor (C, H, W) or (N, C, H, W), or a list of these.
        numbers: also .npy files, and arrays and tensors of any numbers.

    Raises:
        FileNotFoundError: a path that is not there, or a folder without pictures.
        TypeError: something else, or floats, which only `predict` takes, as preprocessed images.
    """
    found = [
        named for one in (inputs if isinstance(inputs, list | tuple) else [inputs]) for named in _expand(one, numbers)
    ]
    return [Named(named.name or f"image {i}", named.source) for i, named in enumerate(found)]


def _expand(one: Any, numbers: bool) -> Iterator[Named]:
    if isinstance(one, str | Path):
        suffixes = SUFFIXES | {".npy"} if numbers else SUFFIXES
        yield from (Named(str(path), path) for path in _files(Path(one).expanduser(), suffixes))
    elif isinstance(one, Image.Image):
        yield Named(getattr(one, "filename", ""), one)
    elif isinstance(one, np.ndarray):
        grey = one[..., None] if one.ndim == 2 else one
        kind = np.float32 if numbers and one.dtype != np.uint8 else one.dtype
        yield from _expand(torch.from_numpy(np.ascontiguousarray(grey, kind)).movedim(-1, -3), numbers)
    elif isinstance(one, Tensor) and one.ndim in (3, 4) and (numbers or one.dtype == torch.uint8):
        yield from (Named("", picture) for picture in (one if one.ndim == 4 else one[None]))
    else:
        what = f"{one.dtype} {tuple(one.shape)}" if isinstance(one, Tensor) else type(one).__name__
        raise TypeError(
            f"{what} is no picture: give a path, a folder, a PIL image, or uint8 (H, W, C) arrays or (C, H, W) tensors"
        )


def _files(path: Path, suffixes: Collection[str]) -> Sequence[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"no picture or folder {path}")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise FileNotFoundError(f"{path} holds no pictures; supported are {', '.join(sorted(suffixes))}")
    return found


def read(named: Named, channels: int) -> Tensor:
    """Read one picture as uint8 (C, H, W), converted to grey or RGB by `channels` (1 or 3).

    Raises:
        Unreadable: not a picture, truncated, with more pixels than Pillow allows, or with floats or 32 bits.
        ValueError: a tensor with another number of channels.
    """
    if isinstance(named.source, Tensor):
        return _of_tensor(named, channels)
    try:
        if isinstance(named.source, Image.Image):
            return _of_pillow(named.source, channels)
        with Image.open(named.source, formats=FORMATS) as picture:
            return _of_pillow(picture, channels)
    except Exception as error:  # each format raises its own kinds of error
        raise Unreadable(f"{named.name} cannot be read ({error})") from error


def _of_tensor(named: Named, channels: int) -> Tensor:
    picture: Tensor = named.source
    if len(picture) == 1 and channels == 3:
        return picture.expand(3, -1, -1)
    if len(picture) != channels:
        raise ValueError(f"{named.name} has {len(picture)} channels, the network takes {channels}")
    return picture


def _of_pillow(picture: Image.Image, channels: int) -> Tensor:
    if picture.mode.startswith("I;16"):  # because `convert` clips 16 bits to white
        grey = np.asarray(picture)
        if 0 < (brightest := int(grey.max(initial=0))) < TWELVE_BITS:
            raise ValueError(f"its brightest value is {brightest:,} of 65,535, nearly black: save it with 8 bits")
        picture = Image.fromarray((grey >> 8).astype(np.uint8))
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels are of mode {picture.mode}, whose range is not known: save it with 8 bits")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    pixels = np.array(picture.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels if channels == 3 else pixels[..., None]).permute(2, 0, 1)
