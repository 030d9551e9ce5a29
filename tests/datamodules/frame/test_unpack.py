"""Archives that are whole, that are damaged, and that mean harm."""

import errno
import io
import os
import shutil
import tarfile
import zipfile
from collections import namedtuple

import pytest

from datamodules.frame import unpack as module
from datamodules.frame.unpack import unpack


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def full_after(monkeypatch, count):
    """Disk full, for what the module writes, after `count` writes."""

    class Full(io.FileIO):
        def write(self, data):
            nonlocal count
            count -= 1
            if count < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def opened(path, mode="r"):
        return open(path, mode) if "r" in mode else Full(path, mode.replace("b", ""))

    monkeypatch.setattr(module, "open", opened, raising=False)


def write_tar(path, entries, mode="w"):
    """entries: name -> bytes, or a TarInfo's type."""
    with tarfile.open(path, mode) as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            if len(content) == 1 and content in b"12345":
                info.type, info.linkname = content, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def write_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def tar_bytes(entries):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FILES = {"a/b.txt": b"one", "a/c/d.txt": b"two" * 10000, "e": b""}


def write(path, entries):
    if path.suffix == ".zip":
        write_zip(path, entries)
    else:
        write_tar(path, entries, {".tar": "w", ".gz": "w:gz", ".xz": "w:xz"}[path.suffix])
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.xz"])
def test_unpacks(tmp_path, name):
    unpack(write(tmp_path / name, FILES), tmp_path / "out")
    assert content(tmp_path / "out") == FILES and names(tmp_path) == sorted(["out", name])


def test_tars_in_a_tar(tmp_path):
    inner = {"n1.tar": tar_bytes({"x.jpg": b"1", "y.jpg": b"2"}), "n2.tar": tar_bytes({"x.jpg": b"3"})}
    unpack(write(tmp_path / "x.tar", inner), tmp_path / "out")
    assert content(tmp_path / "out") == {"n1/x.jpg": b"1", "n1/y.jpg": b"2", "n2/x.jpg": b"3"}


def test_places(tmp_path):
    unpack(write(tmp_path / "x.tar", FILES), tmp_path / "out", {"e": None, "a/b.txt": "f/g", "a/c/d.txt": "h"}.get)
    assert content(tmp_path / "out") == {"f/g": b"one", "h": b"two" * 10000}


def test_what_is_there_is_not_unpacked_again(tmp_path):
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "no such file", tmp_path / "out")
    assert content(tmp_path / "out") == {}


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "a\\..\\..\\evil"])
def test_no_path_leaves_the_folder(tmp_path, name, suffix):
    (tmp_path / "in").mkdir()
    archive = write(tmp_path / "in" / f"x.{suffix}", {"a": b"one", name: b"two"})
    with pytest.raises(ValueError, match="which lies outside its folder"):
        unpack(archive, tmp_path / "in" / "out")
    assert names(tmp_path) == ["in"] and names(tmp_path / "in") == [archive.name]


def test_no_path_of_a_place_or_of_an_inner_tar_leaves_the_folder(tmp_path):
    archive = write(tmp_path / "x.tar", {"n1.tar": tar_bytes({"../../evil": b"1"})})
    with pytest.raises(ValueError, match="which lies outside its folder"):
        unpack(archive, tmp_path / "out")
    archive = write(tmp_path / "x.tar", {"n1.tar": tar_bytes({"good": b"1"})})
    with pytest.raises(ValueError, match="which lies outside its folder"):
        unpack(archive, tmp_path / "out", place=lambda name: f"../{name}")
    assert names(tmp_path) == ["x.tar"]


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4"], ids=["hard link", "link", "character", "block"])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = write(tmp_path / "x.tar", {"a": b"one", "evil": kind})
    with pytest.raises(ValueError, match="x.tar holds evil, which is neither file nor folder: not unpacked"):
        unpack(archive, tmp_path / "out")
    assert names(tmp_path) == ["x.tar"]


def test_links_in_a_zip_are_refused(tmp_path):
    link = zipfile.ZipInfo("evil")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc")
        archive.writestr("evil/passwd", b"mine")
    with pytest.raises(ValueError, match="x.zip holds evil, which is neither file nor folder"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    assert names(tmp_path) == ["x.zip"]


def test_two_files_of_one_name(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a"))
    with pytest.raises(ValueError, match="x.tar is damaged .*File exists"):
        unpack(tmp_path / "x.tar", tmp_path / "out")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.xz"])
@pytest.mark.parametrize("how", ["cut", "other"])
def test_damaged_archives(tmp_path, name, how):
    archive = write(tmp_path / name, {"a": os.urandom(20_000), "b": os.urandom(20_000)})
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2] if how == "cut" else b"<html>not found</html>" * 100)
    with pytest.raises(ValueError, match=f"{name} is damaged .*: delete it and fetch it again"):
        unpack(archive, tmp_path / "out")
    assert names(tmp_path) == [name]


def test_a_changed_byte_in_a_zip(tmp_path):
    data = bytearray(write(tmp_path / "x.zip", {"a": os.urandom(20_000)}).read_bytes())
    data[10_000] ^= 1
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(ValueError, match="x.zip is damaged .*CRC"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_an_interrupted_one_starts_again(tmp_path):
    left = tmp_path / ".out.unpacking"
    left.mkdir()
    (left / "half").write_text("of an image")
    unpack(write(tmp_path / "x.zip", FILES), tmp_path / "out")
    assert content(tmp_path / "out") == FILES


def test_ctrl_c_leaves_nothing(tmp_path):
    def stop(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(write(tmp_path / "x.zip", FILES), tmp_path / "out", stop)
    assert names(tmp_path) == ["x.zip"]


def test_a_disk_too_small_to_unpack(tmp_path, monkeypatch):
    archive = write(tmp_path / "x.zip", FILES)  # the content is larger than the archive
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**20, 0, 30_002))
    with pytest.raises(OSError, match="the disk of .*out is too small"):
        unpack(archive, tmp_path / "out")
    assert names(tmp_path) == ["x.zip"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**20, 0, 30_003))
    unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_a_disk_that_fills_up_while_unpacking(tmp_path, monkeypatch, name):
    archive = write(tmp_path / name, FILES)
    full_after(monkeypatch, 1)
    with pytest.raises(OSError, match="the disk of .*out is too small .* nothing was left there") as caught:
        unpack(archive, tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC and names(tmp_path) == [name]
