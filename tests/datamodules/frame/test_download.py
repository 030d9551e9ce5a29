"""Fetching from a server on this machine that behaves in every bad way; unpacking archives that mean harm."""

import errno
import hashlib
import io
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datamodules.frame import download as module
from datamodules.frame.download import fetch, matches

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Gives CONTENT; `requests` has the Range of each request, None where there was none."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.content = [], CONTENT
        self.ranges, self.cuts, self.status, self.gate = True, [], 200, threading.Event()
        self.gate.set()
        self.url = f"http://127.0.0.1:{self.server_port}/data.zip"

    def handle_error(self, request, client_address):
        pass  # a client that was killed


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.requests.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if server.status != 200:
            return self.send_error(server.status)
        total = len(server.content)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        server.gate.wait(60)
        self.wfile.write(server.content[start : server.cuts.pop(0) if server.cuts else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


# ---- fetching


def test_fetches_once(server, tmp_path, capsys):
    path = tmp_path / "deep" / "data.zip"
    fetch(server.url, path, MD5)
    fetch(server.url, path, MD5)
    assert path.read_bytes() == CONTENT and server.requests == [None] and names(path.parent) == ["data.zip"]
    assert "data.zip: 100%" in capsys.readouterr().err


def test_goes_on_where_it_stopped(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:1000])
    fetch(server.url, tmp_path / "data.zip", MD5)
    assert server.requests == ["bytes=1000-"]
    assert (tmp_path / "data.zip").read_bytes() == CONTENT and names(tmp_path) == ["data.zip"]


def test_goes_on_by_itself_when_the_connection_is_lost(server, tmp_path):
    server.cuts = [500_000, 700_000]
    fetch(server.url, tmp_path / "data.zip", MD5)
    assert server.requests == [None, "bytes=500000-", "bytes=700000-"]


def test_gives_up_when_nothing_comes_any_more_and_keeps_what_there_is(server, tmp_path):
    server.cuts = [500_000, 500_000]
    with pytest.raises(RuntimeError, match="connection was lost after 500,000 of 1,048,576 bytes"):
        fetch(server.url, tmp_path / "data.zip", MD5)
    assert len(server.requests) == 2 and names(tmp_path) == ["data.zip.part"]
    fetch(server.url, tmp_path / "data.zip", MD5)
    assert server.requests[2:] == ["bytes=500000-"]


def test_a_server_that_knows_no_ranges(server, tmp_path):
    server.ranges = False
    (tmp_path / "data.zip.part").write_bytes(b"x" * 1000)
    fetch(server.url, tmp_path / "data.zip", MD5)
    assert server.requests == ["bytes=1000-"] and (tmp_path / "data.zip").read_bytes() == CONTENT


def test_stopped_before_the_last_name(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "data.zip", MD5)
    assert server.requests == ["bytes=1048576-"] and names(tmp_path) == ["data.zip"]


def test_a_part_that_is_too_long_starts_again(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT + b"x")
    fetch(server.url, tmp_path / "data.zip", MD5)
    assert server.requests == ["bytes=1048577-", None] and (tmp_path / "data.zip").read_bytes() == CONTENT


def test_what_is_not_the_file_is_deleted_and_told(server, tmp_path):
    server.content = b"<html>please log in</html>"
    with pytest.raises(RuntimeError) as caught:
        fetch(server.url, tmp_path / "data.zip", MD5)
    assert "wrong checksum, now deleted: try again, or fetch http://" in str(caught.value)
    assert str(caught.value).endswith(f"by hand and put it there as {tmp_path / 'data.zip'}")
    assert names(tmp_path) == []


def test_a_damaged_file_is_fetched_again(server, tmp_path, capsys):
    path = tmp_path / "data.zip"
    path.write_bytes(CONTENT[:-1] + b"x")
    fetch(server.url, path, MD5)
    assert path.read_bytes() == CONTENT
    assert "data.zip is damaged (its md5 is another): fetching it again" in capsys.readouterr().err


def test_a_damaged_file_stays_until_there_is_a_good_one(server, tmp_path):
    path = tmp_path / "data.zip"
    path.write_bytes(b"mine")
    server.content = b"not it"
    with pytest.raises(RuntimeError, match="wrong checksum"):
        fetch(server.url, path, MD5)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("status", [404, 503])
def test_no_such_file(server, tmp_path, status):
    server.status = status
    with pytest.raises(RuntimeError, match=rf"could not be fetched \(HTTP Error {status}.*by hand and put it there as"):
        fetch(server.url, tmp_path / "data.zip", MD5)


def test_no_server(server, tmp_path):
    url = server.url.replace(str(server.server_port), "1")
    with pytest.raises(RuntimeError, match="could not be fetched .*: fetch http.* by hand") as caught:
        fetch(url, tmp_path / "data.zip", MD5)
    assert "\n" not in str(caught.value)


def test_a_disk_too_small_for_the_download(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**20, 2**20 - 1000, 1000))
    with pytest.raises(
        OSError, match=r"the disk of .*data.zip is too small \(0.0 GB are free\); nothing was left there"
    ):
        fetch(server.url, tmp_path / "data.zip", MD5)
    assert names(tmp_path) == []


def full_after(monkeypatch, count):
    """Disk full, for what the module writes, after `count` writes."""

    class Full(io.FileIO):
        def write(self, data):
            nonlocal count
            count -= 1
            if count < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def opened(path, mode="r"):
        return open(path, mode) if "r" in mode else Full(path, mode.replace("b", ""))

    monkeypatch.setattr(module, "open", opened, raising=False)


def test_a_disk_that_fills_up_while_downloading(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 1000)
    full_after(monkeypatch, 10)
    with pytest.raises(OSError, match="is too small .* make room, or choose another root") as caught:
        fetch(server.url, tmp_path / "data.zip", MD5)
    assert caught.value.errno == errno.ENOSPC and names(tmp_path) == []


@pytest.mark.parametrize(
    ("checksum", "same"),
    [
        ("md5:900150983cd24fb0d6963f7d28e17f72", True),  # RFC 1321
        ("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", True),  # FIPS 180
        ("md5:900150983cd24fb0d6963f7d28e17f73", False),
    ],
)
def test_checksums(tmp_path, checksum, same):
    (tmp_path / "abc").write_bytes(b"abc")
    assert matches(tmp_path / "abc", checksum) is same


# ---- several processes


def start(url, path):
    """Another process that fetches, in a package whose front imports nothing: torch takes ten seconds."""
    code = f"""
import sys, types
for name in ("datamodules", "datamodules.frame"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["datamodules.frame"].__path__ = [{str(Path(module.__file__).parent)!r}]
from datamodules.frame.download import fetch
fetch({url!r}, {str(path)!r}, {MD5!r})"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_a_second_process_waits_for_the_first(server, tmp_path):
    server.gate.clear()
    first = start(server.url, tmp_path / "data.zip")
    while not server.requests:
        assert first.poll() is None
        time.sleep(0.01)
    second = start(server.url, tmp_path / "data.zip")
    assert second.stderr.readline().endswith("data.zip: another process is at work on it; waiting\n")
    server.gate.set()
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert server.requests == [None] and (tmp_path / "data.zip").read_bytes() == CONTENT


def test_the_lock_of_a_killed_process_is_none(server, tmp_path):
    server.gate.clear()
    process = start(server.url, tmp_path / "data.zip")
    while not server.requests:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    server.gate.set()
    assert (tmp_path / ".data.zip.lock").exists()
    fetch(server.url, tmp_path / "data.zip", MD5)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_stalled_download_of_another_library_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.02)
    stop = threading.Event()

    def stall():
        (tmp_path / "x.part.tmp.7").write_bytes(b"12345")
        stop.wait(5)

    with pytest.raises(TimeoutError, match="nothing has arrived for 0.02 s, after 5 bytes"):
        module.watch(stall, tmp_path / "x.part")
    stop.set()


def test_a_slow_download_of_another_library_goes_on(tmp_path, monkeypatch):
    class Slow:
        """A byte arrives in each wait; five of them are all."""

        def __init__(self, **_):
            self.arrived = 0

        def start(self):
            pass

        def is_alive(self):
            return self.arrived < 5

        def join(self, seconds):
            self.arrived += 1
            (tmp_path / "x.part.tmp.7").write_bytes(b"1" * self.arrived)

    monkeypatch.setattr(module, "Thread", Slow)
    module.watch(lambda: None, tmp_path / "x.part")


def test_the_error_of_another_library_comes_out(tmp_path):
    with pytest.raises(KeyError, match="no such bucket"):
        module.watch(lambda: {}["no such bucket"], tmp_path / "x.part")
