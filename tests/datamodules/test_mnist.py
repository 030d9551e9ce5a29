"""MNIST and Fashion-MNIST: read from wherever the files are, checked by their content, downloaded where absent."""

import gzip
import http.server
import threading
from functools import partial
from hashlib import md5
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision

from datamodules import MNIST, FashionMNIST
from datamodules.frame.idx import FILES, parse_idx
from tests.datamodules.conftest import idx_bytes, write_idx

SHARED = Path(__file__).parents[3] / "shared" / "data" / "mnist"
KINDS = pytest.mark.parametrize("kind", [MNIST, FashionMNIST])


def ready(kind, root, **options):
    data = kind(root, 20, **options)
    data.prepare_data()
    data.setup()
    return data


@KINDS
@pytest.mark.parametrize("folder", ["", "{0}", "{0}/raw"])
@pytest.mark.parametrize("compress", [True, False])
def test_found_without_a_download(kind, folder, compress, tmp_path, monkeypatch):
    write_idx(tmp_path / folder.format(kind.__name__), kind, monkeypatch, compress=compress)
    data = ready(kind, tmp_path)
    assert len(data.train_set) == 100 and len(data.test_set) == 30 and data.test_set.targets[:3].tolist() == [0, 1, 2]


def test_the_pixels_are_torchvisions(tmp_path, monkeypatch):
    write_idx(tmp_path / "MNIST" / "raw", MNIST, monkeypatch, compress=False)
    monkeypatch.setattr(torchvision.datasets.MNIST, "_check_exists", lambda self: True)
    theirs = torchvision.datasets.MNIST(tmp_path)
    ours = ready(MNIST, tmp_path, channels=1).train_set
    assert torch.equal(torch.from_numpy(ours.images[..., 0]), theirs.data) and torch.equal(ours.targets, theirs.targets)


def test_debians_package_unpacked_and_installed(tmp_path, monkeypatch):
    folder = write_idx(tmp_path / "usr" / "share" / "datasets" / "fashion-mnist", FashionMNIST, monkeypatch)
    assert len(ready(FashionMNIST, tmp_path).train_set) == 100
    monkeypatch.setattr(FashionMNIST, "elsewhere", (str(folder),))
    assert len(ready(FashionMNIST, tmp_path / "empty").train_set) == 100


@KINDS
def test_one_channel_or_three_equal_ones(kind, idx):
    grey, colour = ready(kind, idx, channels=1), ready(kind, idx)
    (one, _), (three, _) = next(iter(grey.test_dataloader())), next(iter(colour.test_dataloader()))
    assert one.shape == (20, 1, 28, 28) and torch.equal(three, one.expand(-1, 3, -1, -1))
    assert len(grey.mean) == 1 and colour.mean == 3 * grey.mean
    a, b = (data.on_after_batch_transfer([x, x], 0)[0] for data, x in ((grey, one), (colour, three)))
    assert torch.equal(a.expand(-1, 3, -1, -1), b)


def test_larger_images_have_black_around(idx):
    small, large = (ready(MNIST, idx, image_size=size).test_set.images for size in (28, 33))
    assert large.shape[1:3] == (33, 33) and (large[:, 2:30, 2:30] == small).all() and large.sum() == small.sum()
    with pytest.raises(ValueError, match="at least 28"):
        MNIST(idx, image_size=27)


@pytest.fixture
def mirrors(tmp_path, monkeypatch):
    """Two servers of MNIST's small files, of which the first has another file for one."""
    good, bad = (write_idx(tmp_path / name, MNIST, monkeypatch) for name in ("good", "bad"))
    sums = [(f"{n}.gz", md5((good / f"{n}.gz").read_bytes()).hexdigest()) for names in FILES.values() for n in names]
    (bad / "t10k-labels-idx1-ubyte.gz").write_bytes(b"<html>a proxy's page</html>")
    servers, addresses = [], []
    for folder in (bad, good):
        handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
        monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        addresses.append(f"http://127.0.0.1:{servers[-1].server_port}/")
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
    monkeypatch.setattr(MNIST, "reader", SimpleNamespace(resources=sums, mirrors=["http://127.0.0.1:9/", *addresses]))
    yield
    for server in servers:
        server.shutdown()
        server.server_close()


def test_downloads_from_the_mirror_that_has_it(mirrors, tmp_path, capsys):
    root = tmp_path / "new"
    assert len(ready(MNIST, root).train_set) == 100
    names = sorted(path.name for path in (root / "MNIST" / "raw").iterdir() if path.suffix != ".lock")
    assert names == sorted(f"{name}.gz" for files in FILES.values() for name in files)
    said = capsys.readouterr().err
    assert "could not be fetched" in said and "wrong checksum" in said and "trying http" in said


def test_a_damaged_file_is_fetched_again(mirrors, tmp_path):
    root = tmp_path / "new"
    ready(MNIST, root)
    path = root / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    assert len(ready(MNIST, root).train_set) == 100


def test_absent(tmp_path):
    data = MNIST(tmp_path)
    with pytest.raises(RuntimeError, match="MNIST is missing or damaged in .* call prepare_data"):
        data.setup("fit")


def test_a_file_that_inflates_is_refused(idx, monkeypatch):
    monkeypatch.setattr("datamodules.frame.idx.LARGEST", 1000)
    path = idx / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes(10**6)))
    assert MNIST(idx).find("train-images-idx3-ubyte") is None


@pytest.mark.parametrize("spoil", [lambda x: x[:3], lambda x: x[:-1], lambda x: x + b"1", lambda x: b"\1" + x[1:]])
def test_idx_files_that_are_none(spoil):
    data = idx_bytes(np.zeros((2, 3), np.uint8))
    assert parse_idx(data, "x").shape == (2, 3)
    with pytest.raises(ValueError, match="x (is not an idx file|has .* bytes)"):
        parse_idx(spoil(data), "x")


@pytest.mark.skipif(not SHARED.is_dir(), reason="MNIST's own files are not here")
def test_the_official_files():
    data = ready(MNIST, SHARED, channels=1)
    assert (len(data.train_set), len(data.test_set)) == (60000, 10000)
    assert data.train_set.targets[:5].tolist() == [5, 0, 4, 1, 9]
    pixels = data.train_set.images / np.float32(255)
    assert abs(pixels.mean() - data.mean[0]) < 5e-5 and abs(pixels.std() - data.std[0]) < 5e-5
