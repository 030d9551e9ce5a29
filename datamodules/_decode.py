"""Image files to bytes with Pillow, on all cores, and an error that names the files that cannot be read.

Pillow decodes JPEG to the same bits as torchvision, which has announced the end of its own decoders.
"""

from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
CHUNK = 128  # files a task of the thread pool


def image_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels, from the file's header."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:  # every format has its own kinds
        raise ValueError(f"{path} cannot be read ({error}): repair or delete it") from error


def decode(path: Path, side: int, resized: bool) -> np.ndarray:
    """One file as uint8 (side, side, 3).

    Grey, palettes and CMYK become RGB, 16 bits the upper 8; transparency is dropped and EXIF's orientation ignored.

    Args:
        path: the file.
        side: in pixels.
        resized: cut the middle square out of an image of another size and resize that (bilinear, antialiased);
            otherwise another size is an error.
    """
    with Image.open(path) as image:
        if image.mode.startswith("I"):  # 16-bit grey, which convert("RGB") would clip to white
            image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
        image = image.convert("RGB")
    if image.size == (side, side):
        return np.asarray(image)
    if not resized:
        raise ValueError(f"{image.height} x {image.width} pixels instead of {side} x {side}; image_size= would resize")
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    middle = image.crop((left, top, left + short, top + short))
    return np.asarray(middle.resize((side, side), Image.Resampling.BILINEAR))


def decode_all(paths: list[Path], images: np.ndarray, resized: bool) -> None:
    """Decodes n files into `images`, uint8 (n, S, S, 3); with a progress bar from 5,000 files on.

    Raises:
        ValueError: some cannot be read, or have another size. All are tried first, so that it can count and name them.
    """
    problems = []

    def decode_some(start: int) -> int:
        chunk = paths[start : start + CHUNK]
        for i, path in enumerate(chunk, start):
            try:
                images[i] = decode(path, images.shape[1], resized)
            except Exception as error:  # every format has its own kinds
                problems.append(f"{path} ({error})")
        return len(chunk)

    with (
        ThreadPoolExecutor(cpu_count()) as pool,
        tqdm(total=len(paths), unit=" images", disable=len(paths) < 5000) as bar,
    ):
        for done in pool.map(decode_some, range(0, len(paths), CHUNK)):
            bar.update(done)
    if problems:
        named = "; ".join(sorted(problems)[:3])
        raise ValueError(f"{len(problems)} of {len(paths)} images cannot be used: {named}: repair or delete them")
