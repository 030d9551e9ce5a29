"""Resize and encode images once, before training: on all cores, in order, with the same bytes for any number."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import simplejpeg
import torch
from tqdm import tqdm

from datamodules.frame.decode import decode, usable_cores
from datamodules.frame.source import Source
from datamodules.transforms.resizing import resize, short_side

Result = tuple[int, bytes | Exception]
TASK = 16  # images a task of the thread pool: some 20 ms


def shrink(data: bytes, name: str, side: int, quality: int) -> bytes:
    """Encode an image as a JPEG whose short side is at most `side`, with subsampled colours (4:2:0).

    A JPEG that is small enough is copied byte for byte, because encoding it again would lose quality.

    Args:
        data: the whole file.
        name: of the file, for messages.
        side: length of the short side, in pixels. Smaller images are not enlarged.
        quality: libjpeg's, 1 to 100.

    Raises:
        Unreadable: the image cannot be read, or is damaged.
    """
    picture = decode(data, name, strict=True)
    height, width = picture.shape[1:]
    if min(height, width) > side:
        picture = resize(picture, *short_side((height, width), side))
    elif data[:2] == b"\xff\xd8":
        return data
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    jpeg: bytes = simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="RGB", colorsubsampling="420")
    return jpeg


def shrink_all(source: Source, side: int, quality: int, title: str, threads: int | None = None) -> Iterator[Result]:
    """Yield index and JPEG, or the error, of each image of a `Source`, in order; show a progress bar.

    Args:
        source: n encoded images.
        side, quality: as in `shrink`.
        title: of the progress bar.
        threads: None for one per core.
    """

    def task(start: int) -> list[Result]:
        return [(i, attempt(source, i, side, quality)) for i in range(start, min(start + TASK, len(source)))]

    threads = usable_cores() if threads is None else threads
    with single_threaded_torch(), tqdm(total=len(source), desc=title, unit=" images", disable=None) as bar:
        pool = ThreadPoolExecutor(threads)
        running: deque[Future[list[Result]]] = deque()
        try:
            for start in range(0, len(source), TASK):
                running.append(pool.submit(task, start))
                if len(running) > 4 * threads:  # limited, because finished images wait in memory for the disk
                    yield from _advance(running.popleft().result(), bar)
            while running:
                yield from _advance(running.popleft().result(), bar)
        finally:
            pool.shutdown(cancel_futures=True)


def attempt(source: Source, i: int, side: int, quality: int) -> bytes | Exception:
    """Return one JPEG, or the error."""
    try:
        return shrink(source.read(i), source.name(i), side, quality)
    except Exception as error:  # any error: the others go on, and this one is named at the end
        return error


def _advance(results: list[Result], bar: tqdm) -> list[Result]:
    bar.update(len(results))
    return results


@contextmanager
def single_threaded_torch() -> Iterator[None]:
    """Keep torch from starting threads of its own in each of our threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
