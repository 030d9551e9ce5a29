"""Files are replaced, never overwritten: on two file systems, on a full disk, after an error."""

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.frame import atomic
from datamodules.frame.check import find_readable
from datamodules.frame.download import fetch
from datamodules.frame.pack import Packed
from datamodules.frame.pack_writer import write
from datamodules.frame.prepared_folder import verify
from datamodules.frame.source import Paths
from datamodules.tiny_imagenet import keep
from tests.datamodules.conftest import write_folder


@pytest.fixture
def small_disk():
    """A file system of its own, of one megabyte."""
    folder = Path(tempfile.mkdtemp())
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        folder.rmdir()
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def photos(root):
    write_folder(root / "photos", count=5)
    return (root / "photos").rglob("*.png")


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with atomic.replace(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old" and len(names(tmp_path)) == 2
    assert path.read_text() == "new" and names(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ValueError])
def test_an_error_leaves_the_old_file(error, tmp_path):
    atomic.write_text(tmp_path / "x", "old")
    with pytest.raises(error), atomic.replace(tmp_path / "x") as file:
        file.write(b"half")
        raise error
    assert (tmp_path / "x").read_text() == "old" and names(tmp_path) == ["x"]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda number: done.append(os.readlink(f"/proc/self/fd/{number}")))
    monkeypatch.setattr(Path, "replace", lambda self, other: done.append(f"renamed {self}"))
    atomic.write_text(tmp_path / "x", "new")
    part = f"{tmp_path}/.x.{os.getpid()}.part"
    assert done == [part, f"renamed {part}", str(tmp_path)]
    done.clear()
    (tmp_path / "folder").mkdir(), (tmp_path / "folder" / "a").touch()
    atomic.publish(tmp_path / "folder", tmp_path / "other")
    assert done == [f"{tmp_path}/folder/a", f"renamed {tmp_path}/folder", str(tmp_path)]


def test_prepared_images_on_a_second_file_system(small_disk, tmp_path):
    files = sorted(photos(tmp_path))
    write(small_disk / "out", {"train": (Paths(files), torch.zeros(len(files), dtype=torch.long))}, ("a",), side=8)
    verify(small_disk / "out")
    assert len(Packed(small_disk / "out", "train")) == len(files) and names(small_disk) == ["out"]


def test_a_full_disk_leaves_what_was_there(small_disk):
    old, new = np.zeros((10, 64, 64, 3), np.uint8), np.ones((100, 64, 64, 3), np.uint8)
    path = small_disk / "tiny-train-0123456789abcdef.npy"
    keep(old, path)
    with pytest.raises(OSError, match="too small") as caught:
        keep(new, path)
    assert caught.value.errno == errno.ENOSPC
    assert (np.load(path) == 0).all() and names(small_disk) == [path.name]


def test_notes_on_a_full_disk_are_left_out(small_disk, tmp_path):
    notes = small_disk / "notes.json"
    notes.write_text("old")
    (small_disk / "fill").write_bytes(bytes(2**20 - 2 * os.sysconf("SC_PAGE_SIZE")))
    with pytest.raises(OSError):
        (small_disk / "more").write_bytes(bytes(2**20))
    files = sorted(photos(tmp_path))
    assert len(find_readable(Paths(files), notes)) == len(files)
    assert notes.read_text() == "old"


def test_a_download_to_a_full_disk(small_disk, tmp_path):
    (tmp_path / "data").write_bytes(bytes(2**21))
    with pytest.raises(OSError, match="too small"):
        fetch((tmp_path / "data").as_uri(), small_disk / "data", "md5:0")
    assert names(small_disk) == []
