"""Small data sets in the real formats, so that the real reading code runs without a download."""

import gzip
import hashlib
import io
import json
import pickle
import tarfile

import lightning as L
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from scipy.io import savemat
from torch import nn

import datamodules
import datamodules.imagenet
from datamodules import MNIST, FashionMNIST
from datamodules.frame import pack_writer, prepared_folder
from datamodules.frame.idx import FILES
from datamodules.frame.pack import Packed


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


TINY = {"n01443537": "goldfish, Carassius auratus", "n02058221": "albatross, mollymawk", "n03126707": "crane"}


def write_tiny(root, train=40, val=10):
    """Random images in the layout of tiny-imagenet-200.zip, three classes, a grey one a class."""
    rng, lines = np.random.default_rng(0), []
    (root / "val" / "images").mkdir(parents=True)

    def save(path, grey):
        image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
        (image.convert("L") if grey else image).save(path)

    for k, wnid in enumerate(TINY):
        folder = root / "train" / wnid / "images"
        folder.mkdir(parents=True)
        (folder.parent / f"{wnid}_boxes.txt").write_text("")
        (folder.parent / ".DS_Store").write_bytes(b"of somebody's Mac")
        for i in range(train):
            save(folder / f"{wnid}_{i}.JPEG", grey=i == 1)
        for i in range(val):
            name = f"val_{3 * i + k}.JPEG"
            lines.append(f"{name}\t{wnid}\t0\t0\t63\t63\n")
            save(root / "val" / "images" / name, grey=i == 1)
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(reversed(TINY)) + "\n")  # the official one is not sorted either
    words = TINY | {"n02012849": "crane"}  # the bird; the official file has all 82,115 of WordNet
    (root / "words.txt").write_text("".join(f"{wnid}\t{names}\n" for wnid, names in words.items()))


@pytest.fixture
def tiny(tmp_path):
    """Where the folder of Tiny-ImageNet is."""
    write_tiny(tmp_path / "tiny-imagenet-200")
    return tmp_path


IMAGENET = {"n01440764": 2, "n02012849": 3, "n02119789": 1, "n03126707": 4}  # wnid: the devkit's number; two cranes


def write_imagenet(root, monkeypatch, train=30, val=10):
    """Random images in ImageNet's three archives, four classes, and their checksums in the reader's tables."""
    rng = np.random.default_rng(0)

    def image():
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(file, "JPEG")
        return file.getvalue()

    def tar(files, mode="w"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return file.getvalue()

    kinds = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children"]  # and more, which nobody needs
    rows = [
        (number, wnid, "some, words", "a gloss", 0) for wnid, number in sorted(IMAGENET.items(), key=lambda x: x[1])
    ]
    synsets = np.array([*rows, (5, "n00001740", "entity", "above all", 2)], [(kind, "O") for kind in kinds])
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets[:, None]})
    truth = [list(IMAGENET.values())[i % 4] for i in range(4 * val)]
    data = "ILSVRC2012_devkit_t12/data/"
    files = {
        "TRAIN": tar({f"{w}.tar": tar({f"{w}_{i}.JPEG": image() for i in range(train)}) for w in reversed(IMAGENET)}),
        "VAL": tar({f"ILSVRC2012_val_{i:08}.JPEG": image() for i in range(4 * val, 0, -1)}),
        "DEVKIT": tar(
            {
                f"{data}meta.mat": meta.getvalue(),
                f"{data}ILSVRC2012_validation_ground_truth.txt": "".join(f"{n}\n" for n in truth).encode(),
            },
            "w:gz",
        ),
    }
    for kind, content in files.items():
        name, _ = getattr(datamodules.imagenet, kind)
        (root / name).write_bytes(content)
        monkeypatch.setattr(datamodules.imagenet, kind, (name, f"md5:{hashlib.md5(content).hexdigest()}"))


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """Where ImageNet's archives are."""
    (tmp_path / "imagenet").mkdir()
    write_imagenet(tmp_path / "imagenet", monkeypatch)
    return tmp_path / "imagenet"


def write_prepared(root, folder):
    """The images of a folder, prepared in one file."""
    data = datamodules.ImageFolder(folder)
    pack_writer.write(root, {part: data.source(part) for part in data.files}, data.classes, side=6)


def write_in_chunks(root, packed, count=16):
    """A packed folder's images in litdata's format, `count` a chunk, without litdata, which takes seconds."""
    header = prepared_folder.read_header(packed)
    for part in header["parts"]:
        (root / part).mkdir(parents=True)
        images, chunks = Packed(packed, part), []
        for start in range(0, len(images), count):
            items = []
            for i in range(start, min(start + count, len(images))):
                fields = [images.read(i), int(images.targets[i]).to_bytes(8, "little")]
                items.append(np.array([len(x) for x in fields], np.uint32).tobytes() + b"".join(fields))
            places = 4 * (len(items) + 2) + np.cumsum([0, *map(len, items)])
            content = np.array([len(items), *places], np.uint32).tobytes() + b"".join(items)
            name = f"chunk-0-{len(chunks)}.bin"
            (root / part / name).write_bytes(content)
            chunks.append({"chunk_bytes": len(content), "chunk_size": len(items), "filename": name})
        config = {"compression": None, "data_format": ["bytes", "int"]}
        (root / part / "index.json").write_text(json.dumps({"chunks": chunks, "config": config}))
    (root / "targets.npy").write_bytes((packed / "targets.npy").read_bytes())
    prepared_folder.write_header(root, {**header, "storage": "litdata", "files": {}})


@pytest.fixture
def prepared(folder):
    """`prepared(storage)`: where the folder's images are, "packed" or in "chunks"."""

    def make(storage="packed"):
        packed, chunks = folder / "prepared" / "packed", folder / "prepared" / "chunks"
        if not packed.exists():
            write_prepared(packed, folder)
        if storage == "chunks" and not chunks.exists():
            write_in_chunks(chunks, packed)
        return packed if storage == "packed" else chunks

    return make


def idx_bytes(array):
    """An idx file of bytes."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_idx(root, kind, monkeypatch, train=100, test=30, compress=True):
    """MNIST's four files with few images, compressed or not, and their checksums in place of the official ones."""
    root.mkdir(parents=True, exist_ok=True)
    rng, checksums = np.random.default_rng(0), {}
    for part, count in (("train", train), ("test", test)):
        arrays = rng.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count).astype(np.uint8) % 10
        for name, array in zip(FILES[part], arrays, strict=True):
            data = idx_bytes(array)
            checksums[name] = hashlib.sha256(data).hexdigest()
            (root / f"{name}{'.gz' * compress}").write_bytes(gzip.compress(data, 1) if compress else data)
    monkeypatch.setattr(kind, "checksums", checksums)
    return root


@pytest.fixture
def idx(tmp_path, monkeypatch):
    """A folder with small files of MNIST, and one of Fashion-MNIST in it."""
    write_idx(tmp_path / "idx" / "FashionMNIST" / "raw", FashionMNIST, monkeypatch)
    return write_idx(tmp_path / "idx" / "MNIST" / "raw", MNIST, monkeypatch).parents[1]


def write_arrays():
    """Images of 8 pixels: as bytes to train on, as floats in other order for the test."""
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (100, 8, 8, 3), np.uint8),
        "targets": np.arange(100) % 10,
        "test": (torch.from_numpy(rng.random((30, 3, 8, 8))), torch.arange(30) % 10),
    }


def write_table(folder):
    """The images of a folder, listed beside it."""
    path = folder / "table.csv"
    lines = [f"{p.relative_to(folder)},{p.parent.name},{p.parent.parent.name}" for p in sorted(folder.rglob("*.png"))]
    path.write_text("\n".join(["path,label,split", *lines]))
    return path


@pytest.fixture
def hf_datasets(tmp_path_factory, monkeypatch):
    """The library `datasets`, with its cache in a folder of the test's own."""
    library = pytest.importorskip("datasets", reason="datasets, of the extra `huggingface`, is not installed")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    return library


@pytest.fixture
def build(request):
    """`build(name, **options)`: a data module of that name, on small data where the real ones are large.

    "ImageFolder" reads files, in this process unless told otherwise; "ImageFolder in memory" is its other way.
    "Prepared" is one file, "Prepared in chunks" of litdata, "Prepared at an address" fetches these.
    """

    def make(name, **options):
        if name in ("CIFAR10", "CIFAR100"):
            options.setdefault("root", request.getfixturevalue("cifar"))
        elif name == "ImageFolder":
            options = {"root": request.getfixturevalue("folder"), "image_size": 8, "num_workers": 0, **options}
        elif name == "Table":
            table = write_table(request.getfixturevalue("folder"))
            options = {"root": table, "split": "split", "image_size": 8, "num_workers": 0, **options}
        elif name == "ImageFolder in memory":
            name, options = "ImageFolder", {"root": request.getfixturevalue("folder"), "cache": "memory", **options}
        elif name == "HuggingFace":
            request.getfixturevalue("hf_datasets")
            options = {"name": request.getfixturevalue("folder"), "image_size": 8, "num_workers": 0, **options}
        elif name == "TinyImageNet":
            options.setdefault("root", request.getfixturevalue("tiny"))
        elif name == "ImageNet":
            options = {"root": request.getfixturevalue("imagenet"), "image_size": 8, "val_split": 0.1, **options}
        elif name in ("Prepared", "Prepared in chunks", "Prepared at an address"):
            root = request.getfixturevalue("prepared")("packed" if name == "Prepared" else "chunks")
            if name == "Prepared at an address":
                options = {"cache": root.parent / "copies", **options}
                root = f"local:{root}"
            name, options = "Prepared", {"root": root, "image_size": 8, "num_workers": 0, **options}
        elif name == "Shapes":
            options = {"images": 100, "test_images": 30, "image_size": 8, **options}
        elif name in ("MNIST", "FashionMNIST"):
            options.setdefault("root", request.getfixturevalue("idx"))
        elif name == "Arrays":
            options = {**write_arrays(), **options}
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
        targets = batch[1] if batch[1].ndim == 1 else batch[1].flatten(1).amax(1)  # of a mask, one of its classes
        return nn.functional.cross_entropy(self.net(batch[0].flatten(1)), targets)

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
