"""Checkpoints that others trained, through our model and our data module: the accuracy that their own code gives."""

import tarfile
from pathlib import Path

import pytest

from datamodules import ImageFolder
from zoo import ResNet

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # what these were trained with

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs CIFAR-10-JPEG and two checkpoints beside the checkout"),
]


@pytest.fixture(scope="module")
def cifar10_jpeg(tmp_path_factory):
    """The test images; training images are not read, but a tree must have them."""
    root = tmp_path_factory.mktemp("cifar10-jpeg")
    with tarfile.open(DATA / "cifar10-jpeg.tar.xz") as archive:
        wanted = [m for m in archive if m.name.startswith("test/") or m.name.endswith("/0000.jpg")]
        archive.extractall(root, wanted, filter="data")
    return ImageFolder(root, batch_size=500, cache="memory", **IMAGENET)


@pytest.mark.parametrize(
    ("variant", "file", "accuracy"), [("20", "resnet20-12fca82f", 0.8103), ("56", "resnet56-4bfd9763", 0.8320)]
)
def test_accuracy_is_that_of_the_authors_code(cifar10_jpeg, trainer, variant, file, accuracy):
    model = ResNet(variant, num_classes=10, weights=str(DATA / f"{file}.th"))
    scores = trainer().test(model, cifar10_jpeg, verbose=False)[0]
    assert scores["test/acc"] == pytest.approx(accuracy, abs=1e-6)
