"""Images in chunks at an address: read ahead, or fetched when they are needed.

Command:  pip install "moto[server]"; python benchmarks/read_ahead.py
Measures: wall seconds, most of them waiting: moto, a local server of S3, stands behind one that waits for a while
          before each answer, and sends 1 MB/s on each connection. 24 chunks of 64 random "images" of 4 kB are read
          once in training order, in batches of 64, as bytes, by litdata's client of S3: without decoding and network.
          Each time there is a fresh folder for copies; the two ways take turns. The figures are medians: images a
          second, and seconds until the first batch is there
"""

import argparse
import json
import logging
import os
import statistics
import struct
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

import boto3
import numpy as np
import torch
from litdata.streaming import downloader
from moto.server import ThreadedMotoServer

from datamodules.frame import chunks as chunks_module
from datamodules.frame.chunks import FIELDS, ByChunk, Chunks, Store
from recipes.frame import records

BUCKET = "chunks"
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
    found = {f"train/{k}.bin": chunk(rng) for k in range(CHUNKS)}
    listed = [{"filename": f"{k}.bin", "chunk_size": SIZE, "chunk_bytes": SIZE * BYTES} for k in range(CHUNKS)]
    config = {"data_format": FIELDS, "compression": None}
    return found | {"train/index.json": json.dumps({"config": config, "chunks": listed}).encode()}


class Slow(BaseHTTPRequestHandler):
    """What the store answers, after a while and at `RATE`."""

    store, delay = "", 0.0

    def do_GET(self) -> None:
        asked = Request(self.store + self.path, headers=dict(self.headers), method=self.command)
        with urlopen(asked) as answer:
            status, head, body = answer.status, answer.headers.items(), answer.read()
        time.sleep(self.delay + len(body) / RATE)
        self.send_response(status)
        for name, value in head:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *arguments) -> None:
        pass


def start_store() -> str:
    """Start a server of S3 with the chunks in it; return its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    s3 = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    s3.create_bucket(Bucket=BUCKET)
    for name, body in files().items():
        s3.put_object(Bucket=BUCKET, Key=name, Body=body)
    return f"http://{host}:{port}"


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
    Slow.store = start_store()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    os.environ["AWS_ENDPOINT_URL"] = address  # litdata's clients read it
    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # the local server has no certificate
    commit, metrics, began = records.commit(), {}, time.perf_counter()
    for delay in DELAYS:
        Slow.delay = delay
        found = {True: [], False: []}
        for _ in range(arguments["rounds"]):
            for ahead in found:
                found[ahead].append(epoch(f"s3://{BUCKET}", ahead))
        for ahead, pairs in found.items():
            way = f"{1e3 * delay:.0f} ms, {'read ahead' if ahead else 'when needed'}"
            rate, first = map(statistics.median, zip(*pairs, strict=True))
            metrics |= {f"{way}: images/s": rate, f"{way}: first batch s": first}
            print(f"{way:24}{rate:8.0f} images/s   first batch after {first:.2f} s", flush=True)
    record = {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - began}
    records.append("read_ahead", record | {"clock": CLOCK, "commit": commit})


if __name__ == "__main__":
    main()
