"""CIFAR-10 and CIFAR-100 from the official pickles, and what is said when they are missing or damaged."""

import pickle
import tarfile
import threading
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from datamodules import CIFAR10, CIFAR100, ImageFolder
from datamodules.frame.download import lock

JPEGS = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg.tar.xz"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", refuse)


def test_reads_the_official_layout(cifar):
    data = CIFAR10(cifar)
    data.prepare_data()
    data.setup()
    raw = [pickle.loads((cifar / "cifar-10-batches-py" / f"data_batch_{i}").read_bytes()) for i in range(1, 6)]
    rows = np.concatenate([part["data"] for part in raw])  # red, green, blue plane of each image
    assert np.array_equal(data.train_set.images.transpose(0, 3, 1, 2).reshape(-1, 3072), rows)
    assert data.train_set.targets.tolist() == sum((part["labels"] for part in raw), [])
    assert len(data.train_set) == 100 and len(data.test_set) == 20


def test_reads_the_fine_labels(cifar):
    data = CIFAR100(cifar)
    data.setup()
    assert data.train_set.targets.tolist() == list(range(100))
    assert data.num_classes == len(set(data.classes)) == 100
    assert data.classes == tuple(sorted(data.classes))  # as in the official meta file


def test_augments_by_default_as_the_literature(cifar):
    data = CIFAR10(cifar)
    assert (data.padding, data.flip, data.cutout) == (4, True, None)
    for kind, mean, std in (
        (CIFAR10, (0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616)),
        (CIFAR100, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    ):
        assert kind.mean == pytest.approx(mean, abs=1e-4) and kind.std == pytest.approx(std, abs=1e-4)


def test_cutout(cifar):
    data = CIFAR10(cifar, batch_size=20, padding=0, cutout=16)
    data.setup("fit")
    images = torch.cat([x for x, _ in data.train_dataloader()])
    holes = (images == 0).all(1).flatten(1).sum(1)
    assert holes.max() == 256 and holes.min() >= 64  # a hole in a corner is a quarter


@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100])
def test_no_data_and_no_network(kind, tmp_path, no_network):
    with pytest.raises(RuntimeError) as caught:
        kind(tmp_path).prepare_data()
    message = str(caught.value)
    assert f"{kind.__name__} is missing or damaged in {tmp_path} and could not be downloaded" in message
    assert f"fetch {kind.reader.url} by hand and put it there as {kind.reader.filename}" in message
    assert "\n" not in message


def test_a_second_process_waits_for_the_first(tmp_path, no_network, capsys):
    refused = []

    def prepare():
        with pytest.raises(RuntimeError) as caught:
            CIFAR10(tmp_path).prepare_data()
        refused.append(caught.value)

    with lock(tmp_path / "cifar-10-batches-py"):
        thread = threading.Thread(target=prepare)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and "another process is at work on it" in capsys.readouterr().err
    thread.join(10)
    assert "could not be downloaded" in str(refused[0])


def test_what_is_there_needs_no_lock(cifar):
    CIFAR10(cifar).prepare_data()
    assert not list(cifar.glob(".*.lock"))


def test_not_prepared(tmp_path):
    with pytest.raises(RuntimeError, match="CIFAR10 is missing or damaged in .* and could not be read"):
        CIFAR10(tmp_path).setup("fit")


def test_a_damaged_batch(cifar, no_network):
    path = cifar / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RuntimeError, match="CIFAR10 is missing or damaged"):
        CIFAR10(cifar).prepare_data()
    with pytest.raises(RuntimeError, match="CIFAR10 is missing or damaged"):
        CIFAR10(cifar).setup("fit")


def test_a_damaged_archive(tmp_path, no_network):
    (tmp_path / CIFAR10.reader.filename).write_bytes(b"half a download")
    with pytest.raises(RuntimeError, match="put it there as cifar-10-python.tar.gz"):
        CIFAR10(tmp_path).prepare_data()


@pytest.mark.slow
@pytest.mark.skipif(not JPEGS.exists(), reason="needs cifar10-jpeg.tar.xz in ../shared/data")
def test_a_tenth_of_cifar_as_jpegs(tmp_path):
    with tarfile.open(JPEGS) as archive:
        tenth = [member for member in archive if member.isdir() or member.name.endswith("7.jpg")]
        archive.extractall(tmp_path, tenth, filter="data")
    data = ImageFolder(tmp_path, batch_size=500, cache="memory")
    data.setup()
    assert data.classes == CIFAR10.classes
    assert (len(data.train_indices), len(data.val_indices), len(data.test_set)) == (4500, 500, 1000)
    assert data.mean == pytest.approx(CIFAR10.mean, abs=0.01)
    assert sum(len(y) for _, y in data.test_dataloader()) == 1000
