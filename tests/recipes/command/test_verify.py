"""`zoo verify`: the mosaic, checksums, the table, and what is said and recorded."""

import hashlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from recipes.command import verify
from recipes.frame import records
from recipes.frame.errors import UsageError
from recipes.frame.verdict import proportion
from zoo import ResNet


@pytest.fixture
def checkpoint(tmp_path):
    """A network of ours in a file, as others publish theirs."""
    torch.manual_seed(0)
    path = tmp_path / "ours.pth"
    ResNet("20", num_classes=10).export(path)
    return path


@pytest.fixture
def mosaic(tmp_path, monkeypatch):
    """Six tiles of one shade each, of the classes 0 to 5, in a lossless file."""
    shades = torch.arange(6, dtype=torch.uint8).view(2, 3).repeat_interleave(32, 0).repeat_interleave(32, 1) * 40
    Image.fromarray(shades[..., None].expand(-1, -1, 3).numpy()).save(tmp_path / f"{verify.MOSAIC}.webp", lossless=True)
    (tmp_path / f"{verify.MOSAIC}.labels.txt").write_text("012345\n")
    sums = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in verify.SUMS}
    monkeypatch.setattr(verify, "SUMS", sums)
    return tmp_path


def test_tiles_are_read_row_by_row(mosaic):
    images, labels = verify.read_mosaic(mosaic)
    assert images.shape == (6, 3, 32, 32) and labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert [image.unique().tolist() for image in images] == [[40 * i] for i in range(6)]


def test_a_damaged_set_is_refused(mosaic):
    (mosaic / f"{verify.MOSAIC}.labels.txt").write_text("012344\n")
    with pytest.raises(UsageError, match="labels.txt is damaged"):
        verify.read_mosaic(mosaic)


def test_says_and_records_what_it_saw(checkpoint, mosaic, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(records, "commit", lambda: "abc")
    options = [
        "--model",
        "ResNet",
        "--variant",
        "20",
        "--mean",
        "0.5,0.5,0.5",
        "--std",
        "0.2,0.2,0.2",
        "--published",
        "90",
    ]
    verify.main([str(checkpoint), *options, "--data-dir", str(mosaic), "--record"])
    model = ResNet("20", num_classes=10, weights=str(checkpoint)).eval()
    images, labels = verify.read_mosaic(mosaic)
    right = int((model((images / 255 - 0.5) / 0.2).argmax(1) == labels).sum())
    out = capsys.readouterr().out
    assert out.startswith(f"ours.pth, ResNet-20: {100 * right / 6:.1f} % of 6 images")
    assert out.endswith("published 90.00 (unknown): outside\n")
    (line,) = records.read("verify")
    assert line["metrics"]["right"] == right and line["metrics"]["published"] == 90.0
    assert line["arguments"]["mean"] == [0.5, 0.5, 0.5]


def test_what_nobody_says_is_asked_for(checkpoint):
    with pytest.raises(
        UsageError, match="ours.pth is not a known checkpoint: add --variant, --published, --mean, --std"
    ):
        verify.main([str(checkpoint), "--model", "ResNet"])


def test_a_known_name_with_other_content_is_refused(checkpoint):
    path = checkpoint.rename(checkpoint.with_name("resnet20-12fca82f.th"))
    with pytest.raises(UsageError, match="is damaged or another file: its SHA-256 begins with"):
        verify.main([str(path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--data", "cifar1000"], "no test set 'cifar1000'"), (["--model", "Resnet"], "mean ResNet")],
)
def test_wrong_names_say_the_right_ones(arguments, message, checkpoint, mosaic):
    given = {"--model": "ResNet", "--variant": "20", "--mean": "0,0,0", "--std": "1,1,1", "--published": "90"}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    with pytest.raises(UsageError, match=message):
        verify.main([str(checkpoint), "--data-dir", str(mosaic), *sum(map(list, given.items()), [])])


def test_wilsons_interval():
    """As scipy has it, and its corners."""
    from scipy.stats import binomtest

    expected = binomtest(925, 1000).proportion_ci(0.95, method="wilson")
    assert proportion(925, 1000) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert proportion(0, 10)[0] == pytest.approx(0) and proportion(10, 10)[1] == pytest.approx(1)


def test_every_known_name_ends_in_the_head_of_a_checksum():
    for name in verify.CHECKPOINTS:
        assert len(bytes.fromhex(Path(name).stem.rpartition("-")[2])) == 4
