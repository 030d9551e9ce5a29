"""Images in chunks at an address: read ahead, or fetched when they are needed.

Command:  python benchmarks/read_ahead.py
Measures: wall seconds, most of them waiting: a local HTTP server waits for a while before each answer, and sends 1 MB/s
          on each connection. 24 chunks of 64 random "images" of 4 kB are read once in training order, in batches of 64,
          as bytes: without decoding and without a network. Each time there is a fresh folder for copies; the two ways
          take turns. The figures are medians: images a second, and seconds until the first batch is there. litdata's
          downloader is replaced by one of a few lines, since litdata 0.2.76 refuses plain HTTP
"""

import argparse
import json
import statistics
import struct
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from urllib.request import urlopen

import numpy as np
import torch
from litdata.streaming.downloader import Downloader, register_downloader

from datamodules.frame import chunks as chunks_module
from datamodules.frame.chunks import FIELDS, ByChunk, Chunks, Store
from recipes.frame import records

CHUNKS, SIZE, BYTES, RATE = 24, 64, 4096, 1e6  # chunks, images of each, bytes of each, bytes a second
DELAYS = (0.02, 0.1, 0.5)  # seconds before an answer
CLOCK = "wall seconds: nearly all of them are waiting, on a core that other programs used too"


def chunk(rng: np.random.Generator) -> bytes:
    """Return a chunk as litdata writes it."""
    fields = struct.pack("<II", BYTES, 8)
    items = [fields + rng.bytes(BYTES) + struct.pack("<q", 0) for _ in range(SIZE)]
    start, length = 4 * (SIZE + 2), len(items[0])
    return struct.pack(f"<{SIZE + 2}I", SIZE, *range(start, start + (SIZE + 1) * length, length)) + b"".join(items)


def files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    found = {f"/train/{k}.bin": chunk(rng) for k in range(CHUNKS)}
    listed = [{"filename": f"{k}.bin", "chunk_size": SIZE, "chunk_bytes": SIZE * BYTES} for k in range(CHUNKS)]
    config = {"data_format": FIELDS, "compression": None}
    return found | {"/train/index.json": json.dumps({"config": config, "chunks": listed}).encode()}


class Slow(BaseHTTPRequestHandler):
    content, delay = files(), 0.0

    def do_GET(self) -> None:
        body = self.content[self.path]
        time.sleep(self.delay + len(body) / RATE)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


class Plain(Downloader):
    def download_file(self, remote_filepath: str, local_filepath: str) -> None:
        with urlopen(remote_filepath.replace("slow://", "http://")) as answer:
            Path(local_filepath).write_bytes(answer.read())


class Remote(Store):
    """A store without a header."""

    def __init__(self, root: str, folder: Path):
        self.root, self.limit, self.remote, self.folder, self.files = root, 1e12, True, folder, {}


def epoch(root: str, ahead: bool) -> tuple[float, float]:
    """Return images a second, and seconds until the first batch."""
    with tempfile.TemporaryDirectory() as folder:
        chunks_module.open_chunk.cache_clear()
        images = Chunks(Remote(root, Path(folder)), "train")
        fetch = images.fetch if ahead else None
        start = time.perf_counter()
        items = iter(ByChunk(torch.arange(len(images)), shuffle=True, chunk_of=images.chunk_of, fetch=fetch))
        first = None
        while batch := list(islice(items, SIZE)):
            for _, i in batch:
                images.read(i)
            first = first or time.perf_counter() - start
        return len(images) / (time.perf_counter() - start), first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that each way runs (default 3)")
    arguments = vars(parser.parse_args())
    register_downloader("slow://", Plain)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    Thread(target=server.serve_forever, daemon=True).start()
    commit, metrics, began = records.commit(), {}, time.perf_counter()
    for delay in DELAYS:
        Slow.delay = delay
        found = {True: [], False: []}
        for _ in range(arguments["rounds"]):
            for ahead in found:
                found[ahead].append(epoch(f"slow://127.0.0.1:{server.server_port}", ahead))
        for ahead, pairs in found.items():
            way = f"{1e3 * delay:.0f} ms, {'read ahead' if ahead else 'when needed'}"
            rate, first = map(statistics.median, zip(*pairs, strict=True))
            metrics |= {f"{way}: images/s": rate, f"{way}: first batch s": first}
            print(f"{way:24}{rate:8.0f} images/s   first batch after {first:.2f} s", flush=True)
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - began}
    records.append("read_ahead", record | {"clock": CLOCK, "commit": commit})


if __name__ == "__main__":
    main()
