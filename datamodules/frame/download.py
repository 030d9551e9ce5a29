"""Download files completely or not at all: one process at a time, resumable, with checksums, renamed at the end."""

import errno
import hashlib
import http.client
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout
from tqdm import tqdm

from datamodules.frame.atomic import publish

CHUNK = 1 << 20  # bytes
WAIT = 60  # seconds without data after which a connection counts as lost


@contextmanager
def lock(path: Path, quiet: bool = False) -> Iterator[None]:
    """Run the block in one process at a time; say so where it waits for another, unless `quiet`.

    The operating system locks the file `.<name>.lock` in the same folder until the process ends: the file of a killed
    process locks nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        held.acquire(timeout=0)
    except Timeout:
        if not quiet:
            print(f"{path}: another process is at work on it; waiting", file=sys.stderr)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def watch(download: Callable[[], None], path: Path) -> None:
    """Run another library's download; give up where nothing has arrived for `WAIT` seconds, twice that at most.

    Args:
        download: writes files of one folder whose names begin with that of `path`.
        path: of the file.

    Raises:
        TimeoutError: the connection stalls. The thread that waits for it ends with the process.
    """
    failures: list[Exception] = []

    def run() -> None:
        try:
            download()
        except Exception as error:
            failures.append(error)

    thread, before = Thread(target=run, daemon=True), -1
    thread.start()
    while thread.is_alive():
        thread.join(WAIT)
        arrived = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*") if file.exists())
        if thread.is_alive() and arrived == before:
            raise TimeoutError(f"nothing has arrived for {WAIT} s, after {arrived:,} bytes")
        before = arrived
    for error in failures:
        raise error


# ---- fetching


def fetch(url: str | Sequence[str], path: Path, checksum: str) -> None:
    """Download a file unless it exists; resume an earlier download.

    Args:
        url: http or https; several are tried in turn.
        path: of the file. While it is incomplete, its name is `<path>.part`.
        checksum: kind and hexadecimal digest, such as "md5:900150983cd24fb0d6963f7d28e17f72". An existing file with
            another checksum is downloaded again and replaced.

    Raises:
        OSError: the disk is too small; the partial download is deleted.
        RuntimeError: no connection, or the downloaded file is wrong. The error says how to download it by hand.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with lock(path):
        if path.exists():
            if matches(path, checksum):
                return
            print(f"{path} is damaged (its {checksum.split(':')[0]} is another): fetching it again", file=sys.stderr)
        urls = [url] if isinstance(url, str) else list(url)
        for number, address in enumerate(urls, 1):
            try:
                _fetch_checked(address, path, part, checksum)
                break
            except RuntimeError as error:
                if number == len(urls):
                    raise
                print(f"{error}; trying {urls[number]}", file=sys.stderr)
                part.unlink(missing_ok=True)  # another server's file may differ
        publish(part, path)


def _fetch_checked(url: str, path: Path, part: Path, checksum: str) -> None:
    try:
        _continue(url, part)
    except (OSError, http.client.HTTPException) as error:
        if is_full(error):
            part.unlink(missing_ok=True)
            raise full_disk_error(path) from error
        raise RuntimeError(f"{url} could not be fetched ({error}): {_by_hand(url, path)}") from error
    if not matches(part, checksum):
        part.unlink()
        raise RuntimeError(f"{url} gave a file with a wrong checksum, now deleted: try again, or {_by_hand(url, path)}")


def _by_hand(url: str, path: Path) -> str:
    return f"fetch {url} by hand and put it there as {path}"


def _continue(url: str, part: Path) -> None:
    """Append to `part` until it is complete; retry while each attempt receives some bytes."""
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _attempt(url, part, before)
        except HTTPError as error:
            if error.code != 416:  # "Range Not Satisfiable": `part` is as long as the file, or longer
                raise
            if error.headers.get("Content-Range") == f"bytes */{before}":
                return
            part.unlink()
        except (http.client.HTTPException, ConnectionError, TimeoutError):
            if not part.exists() or part.stat().st_size <= before:
                raise


def _attempt(url: str, part: Path, start: int) -> None:
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urlopen(request, timeout=WAIT) as answer:
        if answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # the server ignores the range and sends the whole file
        length = answer.headers.get("Content-Length")
        if length is not None:
            needs_space(part.parent, int(length))
        total = None if length is None else start + int(length)
        with (
            open(part, "ab" if start else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size < total:  # http.client does not notice a lost connection
        raise ConnectionError(f"the connection was lost after {part.stat().st_size:,} of {total:,} bytes")


def matches(path: Path, checksum: str) -> bool:
    """Return whether the file has this checksum ("md5:..." or any other kind of `hashlib`); show a progress bar."""
    kind, wanted = checksum.split(":")
    digest, size = hashlib.new(kind, usedforsecurity=False), path.stat().st_size
    with (
        open(path, "rb") as file,
        tqdm(total=size, unit="B", unit_scale=True, desc=f"checking {path.name}", disable=size < 1 << 28) as bar,
    ):
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest() == wanted


# ---- the disk


def needs_space(folder: Path, size: int) -> None:
    """Raise the OSError of a full disk if fewer than `size` bytes are free."""
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_full(error: BaseException) -> bool:
    """Return whether this is the error of a full disk."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def full_disk_error(path: Path) -> OSError:
    """Return the error of a disk that is too small for a file."""
    free = shutil.disk_usage(path.parent).free
    return OSError(
        errno.ENOSPC,
        f"the disk of {path} is too small ({free / 1e9:.1f} GB are free); nothing was left there: make room, or choose "
        "another root",
    )
