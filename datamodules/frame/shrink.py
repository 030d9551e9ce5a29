"""Images made small and encoded anew, once, before training: on all cores, in order, the same bytes for any number."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import simplejpeg
import torch
from tqdm import tqdm

from datamodules.frame.decode import decode, usable_cores
from datamodules.transforms.resizing import resize, short_side

TASK = 16  # images a task of the thread pool: some 20 ms


def shrink(data: bytes, name: str, side: int, quality: int) -> bytes:
    """An encoded image -> JPEG of short side `side` at most, colours subsampled (4:2:0).

    A JPEG that is small enough stays as it is, byte for byte: encoding it again would only lose.

    Args:
        data: the whole file.
        name: of the file, for messages.
        side: of the short side, in pixels. Smaller images are not made larger.
        quality: libjpeg's, 1 to 100.

    Raises:
        Unreadable: the image cannot be read, or is damaged.
    """
    picture = decode(data, name, strict=True)
    height, width = picture.shape[1:]
    if min(height, width) > side:
        picture = resize(picture, *short_side(height, width, side))
    elif data[:2] == b"\xff\xd8":
        return data
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    return simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="RGB", colorsubsampling="420")


def shrink_all(
    source, side: int, quality: int, title: str, threads: int | None = None
) -> Iterator[tuple[int, bytes | Exception]]:
    """Number and JPEG, or what went wrong, of each image of a `Source`, in order; with a progress bar.

    Args:
        source: n encoded images.
        side, quality: as in `shrink`.
        title: of the progress bar.
        threads: None for one a core.
    """

    def task(start: int) -> list[tuple[int, bytes | Exception]]:
        return [(i, attempt(source, i, side, quality)) for i in range(start, min(start + TASK, len(source)))]

    threads = usable_cores() if threads is None else threads
    with single_threaded_torch(), tqdm(total=len(source), desc=title, unit=" images", disable=None) as bar:
        pool, running = ThreadPoolExecutor(threads), deque()
        try:
            for start in range(0, len(source), TASK):
                running.append(pool.submit(task, start))
                if len(running) > 4 * threads:  # not all at once: finished images wait in memory for the disk
                    yield from _counted(running.popleft().result(), bar)
            while running:
                yield from _counted(running.popleft().result(), bar)
        finally:
            pool.shutdown(cancel_futures=True)


def attempt(source, i: int, side: int, quality: int) -> bytes | Exception:
    """One JPEG, or why there is none."""
    try:
        return shrink(source.read(i), source.name(i), side, quality)
    except Exception as error:  # whatever it is, the others go on and this one is named at the end
        return error


def _counted(results: list, bar: tqdm) -> list:
    bar.update(len(results))
    return results


@contextmanager
def single_threaded_torch() -> Iterator[None]:
    """Each thread of ours would start a team of torch's own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
