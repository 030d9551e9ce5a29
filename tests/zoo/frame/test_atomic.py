"""Checkpoints, exported files and results are replaced, never overwritten: on a second file system, and a full one."""

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO

import zoo
from recipes.frame import records
from zoo import ResNet
from zoo.frame import atomic
from zoo.frame.weight_files import ClearCheckpointIO


@pytest.fixture
def small_disk():
    """A file system of its own, of four megabytes."""
    folder = Path(tempfile.mkdtemp())
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        folder.rmdir()
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def fill(folder: Path) -> None:
    """Leave nothing of a disk but what is written on it now."""
    with open(folder / "rubbish", "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(2**12))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "rubbish")


def model() -> ResNet:
    torch.manual_seed(0)
    return ResNet("20", num_classes=10, image_size=8, lr=0.01)


def test_the_old_file_stays_until_the_new_one_is_on_the_disk(tmp_path, monkeypatch):
    path, done = tmp_path / "x", []
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda number: done.append(os.readlink(f"/proc/self/fd/{number}")))
    with atomic.replace(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and names(tmp_path) == ["x"]
    assert done == [f"{tmp_path}/.x.{os.getpid()}.part", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt), atomic.replace(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"new" and names(tmp_path) == ["x"]


def test_the_only_checkpoint_survives_a_full_disk(small_disk, tiny_data, trainer):
    """On another file system than the one of temporary files, Lightning copies over the old file."""
    keep = ModelCheckpoint(small_disk, "last", save_top_k=1)
    run = trainer(callbacks=[keep], max_epochs=1, enable_checkpointing=True)
    run.fit(model(), tiny_data)
    assert names(small_disk) == ["last.ckpt"] and type(run.strategy.checkpoint_io) is ClearCheckpointIO
    before = (small_disk / "last.ckpt").read_bytes()
    fill(small_disk)
    with pytest.raises(OSError) as caught:
        run.save_checkpoint(small_disk / "last.ckpt")
    assert caught.value.errno == errno.ENOSPC
    assert (small_disk / "last.ckpt").read_bytes() == before and names(small_disk) == ["last.ckpt"]
    zoo.load(small_disk / "last.ckpt")


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "model.pt2"])
def test_an_exported_file_survives_a_full_disk(name, small_disk):
    network = model()
    network.export(small_disk / name)
    before = (small_disk / name).read_bytes()
    fill(small_disk)
    with pytest.raises(OSError, match="No space"):
        network.export(small_disk / name)
    assert (small_disk / name).read_bytes() == before and names(small_disk) == [name]


def test_results_survive_a_full_disk(small_disk, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", small_disk)
    line = {"arguments": {}, "seed": 0, "metrics": {"x": 1.0}, "seconds": 1.0}
    records.append("runs", line | {"arguments": {"padding": "." * 9000}})
    before = (small_disk / "runs.jsonl").read_bytes()
    fill(small_disk)
    with pytest.raises(OSError):
        records.append("runs", line)
    assert (small_disk / "runs.jsonl").read_bytes() == before
    (small_disk / "rubbish").unlink()
    records.append("runs", line)
    assert len(records.read("runs")) == 2 and (small_disk / "runs.jsonl").read_bytes().startswith(before)


def test_the_writer_of_a_user_stays(tiny_data, trainer, tmp_path):
    theirs = AsyncCheckpointIO()
    run = trainer(max_epochs=1, plugins=[theirs])
    run.fit(model(), tiny_data)
    run.save_checkpoint(tmp_path / "last.ckpt")
    assert run.strategy.checkpoint_io is theirs
    theirs.teardown()
    zoo.load(tmp_path / "last.ckpt")
