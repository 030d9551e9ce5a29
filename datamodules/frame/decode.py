"""Decode image files to the same bytes as torchvision, with a clear error for each unreadable file.

simplejpeg (libjpeg-turbo) decodes JPEG: it detects more damage than other decoders, and its pixels equal Pillow's.
Pillow reads all other formats, and JPEGs that simplejpeg cannot. torchvision's decoders are deprecated.
"""

import os
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from torch import Tensor
from tqdm import tqdm

from datamodules.frame.tensor import Bytes

# Suffixes of the formats below. Other formats of Pillow's are not opened: an EPS would start a program (gs).
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
}
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF")
MAX_PIXELS = 2**28 // 3  # Pillow's own limit: a quarter of a gigabyte; a malicious header could state any size
CHUNK = 128  # images a task of the thread pool
HARMLESS = "extraneous bytes before marker 0xd9"  # junk after the last pixel
TWELVE_BITS = 4096
PNG, PNG_DEPTH = b"\x89PNG\r\n\x1a\n", 24  # its first bytes, and where it says how many bits a sample has
BITS_PER_SAMPLE = 258  # a tag of TIFF


class Unreadable(ValueError):
    """An image cannot be read; the message begins with its name, and the cause is the decoder's error."""


def decode(data: bytes, name: str, strict: bool = False, white: float | None = None) -> Tensor:
    """Decode an image to uint8 (3, H, W), its memory in the order of (H, W, 3).

    Grey, palettes and CMYK are converted to RGB; transparency and EXIF's orientation are ignored. From a file with
    several pictures, the first is read. 16 bits are reduced to the upper 8; grey floats are in [0, 1].

    Args:
        data: the whole file. The format is recognised by its content, not its name.
        name: of the file, for messages.
        strict: also refuse a damaged JPEG that can be decoded, perhaps wrongly; if False, it gives a warning.
        white: the value of white in grey images of 16 or 32 bits or floats: 4095 for 12 bits in a file of 16. None:
            65,535 for 16 bits and 1 for floats; grey integers of 32 bits need a value.

    Raises:
        Unreadable: not an image of `FORMATS`, truncated, with more than `MAX_PIXELS`, or with an unknown white, which
            would make it nearly black.
    """
    try:
        picture = _jpeg(data, name, strict, white) if data[:2] == b"\xff\xd8" else _pillow(data, white)
    except Exception as error:  # every format has its own kinds
        raise Unreadable(f"{name} cannot be read ({error}): repair or delete it") from error
    return torch.from_numpy(picture).permute(2, 0, 1)


def _jpeg(data: bytes, name: str, strict: bool, white: float | None) -> Bytes:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:  # not a JPEG, or one of a rare kind
        return _pillow(data, white)
    _check_pixels(height, width)
    if colours not in ("YCbCr", "RGB", "Gray"):
        return _pillow(data, white)
    try:
        pixels: Bytes = simplejpeg.decode_jpeg(data)
        return pixels
    except ValueError as error:
        problem = str(error)
    picture = _pillow(data, white)  # raises if pixels are missing
    if HARMLESS not in problem:
        if strict:
            raise ValueError(problem)
        warnings.warn(f"{name} is damaged ({problem}): its picture may be wrong; repair or delete it", stacklevel=3)
    return picture


def _pillow(data: bytes, white: float | None) -> Bytes:
    with Image.open(BytesIO(data), formats=readable_formats()) as image:
        _check_pixels(image.height, image.width)
        if image.mode == "F" or image.mode.startswith("I"):
            return _deep_grey(image, white)
        # without this step, Pillow warns when it drops a palette's transparency
        plain = image.convert("RGBA") if "transparency" in image.info else image
        pixels = np.array(plain.convert("RGB"))
        if sample_bits(image, data) == 16 and pixels.max(initial=0) < TWELVE_BITS >> 8:
            raise ValueError(f"its 16-bit colours are nearly black, at most {pixels.max(initial=0)} of 255: rescale it")
    return pixels


def _deep_grey(image: Image.Image, white: float | None) -> Bytes:
    """Convert grey of more than 8 bits to uint8 (H, W, 3)."""
    grey = np.asarray(image)
    if white is None and (image.mode.startswith("I;16") or image.format in ("PNG", "PPM")):
        _check_sixteen_bits(grey)
        pixels = (grey >> 8).clip(0, 255).astype(np.uint8)
    else:
        pixels = _scale_to_white(grey, white)
    return pixels[:, :, None].repeat(3, axis=2)


def _check_sixteen_bits(grey: NDArray[np.integer]) -> None:
    brightest = int(grey.max(initial=0))
    if 0 < brightest < TWELVE_BITS:
        raise ValueError(
            f"its brightest grey value is {brightest:,} of 65,535, nearly black: give white={TWELVE_BITS - 1} if the "
            "image has 12 bits, white=65535 if it is dark"
        )


def _scale_to_white(grey: NDArray[np.integer | np.floating], white: float | None) -> Bytes:
    """Scale [0, white] to [0, 255]. Raise a ValueError for numbers outside [0, white]."""
    if white is None and not np.issubdtype(grey.dtype, np.floating):
        raise ValueError("it has grey integers of 32 bits, and does not tell which one is white: give white=")
    white, values = 1.0 if white is None else white, grey.astype(np.float64)
    if not np.isfinite(values).all() or values.min(initial=0) < 0 or values.max(initial=0) > white:
        low, high = values.min(initial=0), values.max(initial=0)
        raise ValueError(f"its grey values go from {low:.6g} to {high:.6g}, not from 0 to {white:.6g}: give white=")
    return np.rint(values * 255 / white).astype(np.uint8)


def sample_bits(image: Image.Image, data: bytes) -> int:
    """Return the bits per colour of a PNG or TIFF; 8 for all other formats."""
    if data.startswith(PNG):
        return data[PNG_DEPTH]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(BITS_PER_SAMPLE, (8,))))
    return 8


@cache
def readable_formats() -> tuple[str, ...]:
    """Return the formats of `FORMATS` that this version of Pillow reads: AVIF needs 11.3."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_pixels(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ValueError(f"its header gives {height} x {width} pixels, more than {MAX_PIXELS:,} in all: shrink it")


def image_size(path: Path) -> tuple[int, int]:
    """Return height and width in pixels, from the file's header."""
    try:
        with Image.open(path, formats=readable_formats()) as image:
            return image.height, image.width
    except Exception as error:  # every format has its own kinds
        raise Unreadable(f"{path} cannot be read ({error}): repair or delete it") from error


def square(picture: Tensor, side: int, resized: bool) -> Bytes:
    """Convert uint8 (3, H, W) to a square (side, side, 3).

    Args:
        picture: from `decode`.
        side: in pixels.
        resized: crop the centre square of a picture of another size and resize it (bilinear, antialiased); if False,
            another size is a ValueError.
    """
    pixels: Bytes = picture.permute(1, 2, 0).numpy()
    height, width = pixels.shape[:2]
    if height == width == side:
        return pixels
    if not resized:
        raise ValueError(f"{height} x {width} pixels instead of {side} x {side}: give image_size= to resize")
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = Image.fromarray(pixels[top : top + short, left : left + short])
    return np.asarray(middle.resize((side, side), Image.Resampling.BILINEAR))


def usable_cores() -> int:
    """Return the number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[int], None], count: int, doing: str) -> dict[int, Exception]:
    """Call work(i) for each i in [0, count), on all cores. Return {i: error}, in order of i.

    A progress bar with the title `doing` is shown from 5,000 calls on.
    """
    problems = {}

    def chunk(start: int) -> int:
        numbers = range(start, min(start + CHUNK, count))
        for i in numbers:
            try:
                work(i)
            except Exception as error:
                problems[i] = error
        return len(numbers)

    with (
        ThreadPoolExecutor(usable_cores()) as pool,
        tqdm(total=count, desc=doing, unit=" images", disable=count < 5000) as bar,
    ):
        for done in pool.map(chunk, range(0, count, CHUNK)):
            bar.update(done)
    return dict(sorted(problems.items()))


def decode_all(
    paths: list[Path],
    images: Bytes,
    resized: bool,
    skip_unreadable: bool | None = None,
    white: float | None = None,
) -> Tensor:
    """Decode n files into `images`, uint8 (n, S, S, 3); with a progress bar from 5,000 files on.

    Args:
        paths: the files.
        images: output array.
        resized: as in `square`.
        skip_unreadable: skip unreadable or damaged files, with a warning; None if the caller has no such option, so
            that messages do not mention it.
        white: as in `decode`.

    Returns:
        Indices of the images that were decoded, at most (n,), int64, ascending.

    Raises:
        ValueError: some are unreadable, or have another size. All are tried first, so that the error can count and name
            them.
    """

    def one(i: int) -> None:
        picture = decode(paths[i].read_bytes(), str(paths[i]), bool(skip_unreadable), white)
        images[i] = square(picture, images.shape[1], resized)

    problems = in_threads(one, len(paths), "decoding")
    reasons = {str(paths[i]): str(error.__cause__ or error) for i, error in problems.items()}
    if skip_unreadable and all(isinstance(error, Unreadable | OSError) for error in problems.values()):
        return leave_out(problems.keys(), reasons, len(paths))
    if problems:
        hint = "" if skip_unreadable is None else ", or leave out what cannot be read with skip_unreadable=True"
        raise ValueError(
            f"{len(problems)} of {len(paths)} images cannot be used: {name_some(reasons)}: repair or delete them{hint}"
        )
    return torch.arange(len(paths))


def leave_out(bad: Collection[int], reasons: dict[str, str], count: int) -> Tensor:
    """Return [0, `count`) without the bad indices, int64. Warn of the bad ones; raise a ValueError if none is left."""
    if len(bad) == count:
        raise ValueError(f"none of {count} images can be read: {name_some(reasons)}: check the folder and its format")
    if bad:  # only one process warns
        rank_zero_warn(
            f"{len(bad)} of {count} images cannot be read and are left out: {name_some(reasons)}: repair or delete them"
        )
    return torch.tensor([i for i in range(count) if i not in bad])


def name_some(reasons: dict[str, str]) -> str:
    """Name the first three of {file: error}."""
    return "; ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:3])
