"""Small data sets in the real formats, so that the real reading code runs without a download."""

import hashlib
import pickle

import lightning as L
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import datamodules


def write_cifar(root, reader, monkeypatch):
    """Random images in the official pickles (100 + 20), and their checksums in torchvision's tables."""
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    classes, label = (10, "labels") if reader is torchvision.datasets.CIFAR10 else (100, "fine_labels")
    names = {"label_names": [str(k) for k in range(classes)], "fine_label_names": [str(k) for k in range(classes)]}

    def write(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(count):
        labels = np.arange(count) % classes
        return {"data": rng.integers(0, 256, (count, 3072), np.uint8), label: labels.tolist()}

    files = len(reader.train_list)
    train = [write(name, batch(100 // files)) for name, _ in reader.train_list]
    test = [write(name, batch(20)) for name, _ in reader.test_list]
    meta = reader.meta["filename"]
    monkeypatch.setattr(reader, "train_list", train)
    monkeypatch.setattr(reader, "test_list", test)
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": write(meta, names)[1]})


def write_folder(root, parts=("train", "test"), classes=("ant", "bee"), count=50, side=8):
    """Random PNGs in root/<part>/<class>/."""
    rng = np.random.default_rng(0)
    for part in parts:
        for name in classes:
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{i:03}.png")


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path)
    return tmp_path


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Where both CIFARs are."""
    write_cifar(tmp_path, torchvision.datasets.CIFAR10, monkeypatch)
    write_cifar(tmp_path, torchvision.datasets.CIFAR100, monkeypatch)
    return tmp_path


@pytest.fixture
def build(request):
    """`build(name, **options)`: a data module of that name, on small data where the real ones are large."""

    def make(name, **options):
        if name in ("CIFAR10", "CIFAR100"):
            options.setdefault("root", request.getfixturevalue("cifar"))
        elif name == "ImageFolder":
            options.setdefault("root", request.getfixturevalue("folder"))
        elif name != "Digits":
            raise ValueError(f"datamodules.{name}: say here how to build it for the tests")
        return getattr(datamodules, name)(**options)

    return make


class Linear(L.LightningModule):
    """The smallest classifier; remembers which batches it saw."""

    def __init__(self, size=8, classes=10):
        super().__init__()
        self.net = nn.Linear(3 * size * size, classes)
        self.train_batches, self.val_images, self.test_targets = [], 0, []

    def loss(self, batch):
        assert isinstance(batch, list)
        return nn.functional.cross_entropy(self.net(batch[0].flatten(1)), batch[1])

    def training_step(self, batch, batch_idx):
        self.train_batches.append((self.current_epoch, batch_idx, batch[0].double().sum().item(), batch[1].tolist()))
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.val_images += len(batch[1])
        self.loss(batch)

    def test_step(self, batch, batch_idx):
        self.test_targets += batch[1].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class SaveAt(L.Callback):
    """Writes a checkpoint the `nth` time that `hook` is called."""

    def __init__(self, hook, nth, path):
        self.calls = 0

        def save(trainer, *args, **kwargs):
            self.calls += 1
            if self.calls == nth:
                trainer.save_checkpoint(path)

        setattr(self, hook, save)


@pytest.fixture
def save_at():
    return SaveAt


@pytest.fixture
def linear():
    def make(**sizes):
        torch.manual_seed(0)
        return Linear(**sizes)

    return make


@pytest.fixture
def trainer(tmp_path):
    """`trainer(**options)`: silent, on the CPU, writing nothing but what it is told to."""

    def make(**options):
        quiet = {
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
            "num_sanity_val_steps": 0,
        }
        return L.Trainer(**{**quiet, **options})

    return make
