"""Weights that come with the package: their accuracy is their card's, and they are in the wheel."""

import fnmatch
import re
import tomllib
from pathlib import Path

import lightning as L
import pytest
import torch
from safetensors.torch import load_file

from datamodules import CIFAR10, Digits
from recipes import digits_resnet20
from recipes.command import ship, verify
from zoo import ResNet, ViT
from zoo.frame import shipped

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
FILES = sorted(shipped.FOLDER.glob("*.safetensors"))
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


def accuracy_of(model, data):
    return L.Trainer(accelerator="cpu", **QUIET).test(model, data, verbose=False)[0]["test/acc"]


def told(card: str, row: str) -> str:
    return re.search(rf"^\| {row} \| (.*) \|$", card, re.M)[1]


def test_the_digits_network_is_as_good_as_its_card_says():
    card = (shipped.FOLDER / "ResNet-20-8px.md").read_text()
    model = ResNet("20", num_classes=10, image_size=8, weights="zoo")
    assert not model.untrained and model.preprocessing is not None
    assert f"{accuracy_of(model, Digits(64, num_workers=0)):.4f}" == told(card, "test/acc")
    assert float(told(card, "test/acc")) > 0.97
    assert all(told(card, row) != "not recorded" for row in ("data", "tricks", "seeds", "command", "commit", "license"))


def test_names_of_classes_come_with_the_head():
    whole = ResNet("20", num_classes=10, image_size=32, weights="zoo")
    assert whole.classes == CIFAR10.classes and whole.preprocessing.mean == pytest.approx(CIFAR10.mean)
    assert ResNet("20", num_classes=7, image_size=32, weights="zoo").classes is None  # a head of their own
    [found] = whole.predict(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    assert found.label in CIFAR10.classes


def test_the_cifar_network_knows_more_than_its_lossy_images():
    """On real images if they are there; its card has the accuracy on 10,000 lossy ones."""
    card = (shipped.FOLDER / "ResNet-20-32px.md").read_text()
    assert "CIFAR-10-JPEG" in told(card, "data") and float(told(card, "test/acc")) > 0.85
    if not (DATA / "cifar10-lossless-test1000.webp").exists():
        pytest.skip("needs 1,000 test images in ../shared/data")
    images, labels = verify.read_mosaic(DATA)
    model = ResNet("20", num_classes=10, image_size=32, weights="zoo")
    found = [prediction.label for prediction in model.predict(images)]
    right = sum(CIFAR10.classes[label] == name for label, name in zip(labels.tolist(), found, strict=True))
    assert abs(right - 869) <= 2  # images on the fence between two processors


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_are_small_and_have_a_card(file):
    assert file.stat().st_size < 600_000 and file.with_suffix(".md").is_file()
    kinds = {value.dtype for value in load_file(file).values()}
    assert kinds == {torch.float16, torch.int64}  # weights, and counts of batches


def test_the_wheel_and_git_take_every_file():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["zoo"]
    taken = (ROOT / ".gitignore").read_text().splitlines()
    for file in FILES:
        assert any(fnmatch.fnmatch(f"weights/{file.name}", pattern) for pattern in patterns)
        assert f"!/zoo/weights/{file.name}" in taken


def test_a_model_without_weights_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"no weights ResNet-18-32px come .*; there are: .*ResNet-20-8px .*zoo:NAME"):
        ResNet("18", num_classes=10, image_size=32, weights="zoo")
    with pytest.raises(ValueError, match="ViT-Ti_16-32px"):
        ViT("Ti/16", image_size=32, weights="zoo")
    with pytest.raises(ValueError, match="ResNet-20-9px"):
        ResNet("20", num_classes=10, image_size=8, weights="zoo:ResNet-20-9px")


def test_weights_of_another_image_size_are_named():
    small, large = (
        ResNet("20", num_classes=10, image_size=side, weights=name)
        for side, name in [(8, "zoo"), (40, "zoo:ResNet-20-8px")]
    )
    for ours, theirs in zip(small.parameters(), large.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert large.preprocessing is not None and large.preprocessing.size == 40


@pytest.mark.slow
def test_a_file_is_made_from_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    run = digits_resnet20.recipe(epochs=3, seed=4)
    run.run(save=tmp_path / "run")
    file = ship.ship(tmp_path / "run" / "model.ckpt", commit="abc")
    card, model = file.with_suffix(".md").read_text(), ResNet("20", num_classes=10, image_size=8, weights="zoo")
    assert told(card, "commit") == "abc" and told(card, "seeds") == "4"
    assert "`zoo run digits_resnet20 --seed 4 --epochs 3" in told(card, "command")
    assert f"{accuracy_of(model, Digits(64, num_workers=0)):.4f}" == told(card, "test/acc")
    for ours, theirs in zip(model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(ours, theirs.half().float())
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="does not name a recipe: make it with `zoo run NAME --save FOLDER`"):
        ship.ship(tmp_path / "other.ckpt")
