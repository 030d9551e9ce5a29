"""Image files to bytes, the same bytes as torchvision's, and a clear error for each file that cannot be read.

JPEG is decoded by simplejpeg (libjpeg-turbo), which notices more damage than other decoders and gives Pillow's pixels
bit for bit; Pillow reads all other formats, and what simplejpeg does not know. torchvision's decoders are deprecated.
"""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from torch import Tensor
from tqdm import tqdm

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
MAX_PIXELS = 2**28 // 3  # Pillow's own limit: a quarter of a gigabyte, from a header that anybody can write
CHUNK = 128  # images a task of the thread pool
HARMLESS = "extraneous bytes before marker 0xd9"  # rubbish behind the last pixel


class Unreadable(ValueError):
    """An image cannot be read; the message begins with its name, the cause is what the decoder said."""


def decode(data: bytes, name: str, strict: bool = False) -> Tensor:
    """An encoded image as uint8 (3, H, W), its memory in the order of (H, W, 3).

    Grey, palettes and CMYK become RGB, 16 bits the upper 8; transparency is dropped, EXIF's orientation ignored, and of
    several pictures the first is taken.

    Args:
        data: the whole file. Its content tells the format, not its name.
        name: of the file, for messages.
        strict: refuse also a JPEG that is damaged but gives a picture, perhaps a wrong one; otherwise that is a
            warning.

    Raises:
        Unreadable: no image, a truncated one, or one of more than `MAX_PIXELS`.
    """
    try:
        picture = _jpeg(data, name, strict) if data[:2] == b"\xff\xd8" else _pillow(data)
    except Exception as error:  # every format has its own kinds
        raise Unreadable(f"{name} cannot be read ({error}): repair or delete it") from error
    return torch.from_numpy(picture).permute(2, 0, 1)


def _jpeg(data: bytes, name: str, strict: bool) -> np.ndarray:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:  # no JPEG, or one of a rare kind
        return _pillow(data)
    _check_pixels(height, width)
    if colours not in ("YCbCr", "RGB", "Gray"):
        return _pillow(data)
    try:
        return simplejpeg.decode_jpeg(data)
    except ValueError as error:
        problem = str(error)
    picture = _pillow(data)  # raises where pixels are missing
    if HARMLESS not in problem:
        if strict:
            raise ValueError(problem)
        warnings.warn(f"{name} is damaged ({problem}): its picture may be wrong; repair or delete it", stacklevel=3)
    return picture


def _pillow(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        _check_pixels(image.height, image.width)
        if image.mode.startswith("I"):  # 16-bit grey, which convert("RGB") would clip to white
            image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
        if "transparency" in image.info:  # Pillow warns if it is to drop a palette's without this step
            image = image.convert("RGBA")
        return np.array(image.convert("RGB"))


def _check_pixels(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ValueError(f"its header tells of {height} x {width} pixels, more than {MAX_PIXELS:,} in all: shrink it")


def image_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels, from the file's header."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:  # every format has its own kinds
        raise Unreadable(f"{path} cannot be read ({error}): repair or delete it") from error


def square(picture: Tensor, side: int, resized: bool) -> np.ndarray:
    """uint8 (3, H, W) -> (side, side, 3).

    Args:
        picture: from `decode`.
        side: in pixels.
        resized: cut the middle square out of a picture of another size and resize that (bilinear, antialiased);
            otherwise another size is a ValueError.
    """
    pixels = picture.permute(1, 2, 0).numpy()
    height, width = pixels.shape[:2]
    if height == width == side:
        return pixels
    if not resized:
        raise ValueError(f"{height} x {width} pixels instead of {side} x {side}; image_size= would resize")
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = Image.fromarray(pixels[top : top + short, left : left + short])
    return np.asarray(middle.resize((side, side), Image.Resampling.BILINEAR))


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[int], None], count: int, doing: str) -> dict[int, Exception]:
    """Calls work(i) for each i in [0, count), on all cores -> what went wrong where, in order of i.

    With a progress bar from 5,000 on; `doing` is its title.
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


def decode_all(paths: list[Path], images: np.ndarray, resized: bool, skip_unreadable: bool | None = None) -> Tensor:
    """Decodes n files into `images`, uint8 (n, S, S, 3); with a progress bar from 5,000 files on.

    Args:
        paths: the files.
        images: to be filled.
        resized: as in `square`.
        skip_unreadable: leave out, with a warning, what cannot be read or is damaged; None if the caller has no such
            option, so that messages do not speak of it.

    Returns:
        The places that were filled, int64 (n,) or fewer, ascending.

    Raises:
        ValueError: some cannot be read, or have another size. All are tried first, so that it can count and name them.
    """

    def one(i: int) -> None:
        images[i] = square(
            decode(paths[i].read_bytes(), str(paths[i]), bool(skip_unreadable)), images.shape[1], resized
        )

    problems = in_threads(one, len(paths), "decoding")
    reasons = {str(paths[i]): str(error.__cause__ or error) for i, error in problems.items()}
    if skip_unreadable and all(isinstance(error, Unreadable | OSError) for error in problems.values()):
        return leave_out(problems.keys(), reasons, len(paths))
    if problems:
        hint = "" if skip_unreadable is None else ", or leave out what cannot be read with skip_unreadable=True"
        raise ValueError(
            f"{len(problems)} of {len(paths)} images cannot be used: {named(reasons)}: repair or delete them{hint}"
        )
    return torch.arange(len(paths))


def leave_out(bad: set[int], reasons: dict[str, str], count: int) -> Tensor:
    """All numbers in [0, `count`) but the bad ones, int64, with a warning about these; an error if none is left."""
    if len(bad) == count:
        raise ValueError(f"none of {count} images can be read: {named(reasons)}: check the folder and its format")
    if bad:  # told by one process of many
        rank_zero_warn(
            f"{len(bad)} of {count} images cannot be read and are left out: {named(reasons)}: repair or delete them"
        )
    return torch.tensor([i for i in range(count) if i not in bad])


def named(reasons: dict[str, str]) -> str:
    """The first three of {file: what is wrong with it}."""
    return "; ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:3])
