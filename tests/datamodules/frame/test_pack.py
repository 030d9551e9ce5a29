"""Images made small and packed: pixels and order, bytes the same for any threads, and whatever can go wrong."""

import errno
import io
import json
import pickle
import random
import shutil
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from datamodules import Prepared
from datamodules.frame import pack_writer
from datamodules.frame import shrink as shrink_module
from datamodules.frame.header import FORMAT
from datamodules.frame.pack import Packed
from datamodules.frame.pack_writer import write
from datamodules.frame.prepared_folder import read_header, verify
from datamodules.frame.shrink import shrink
from recipes.command.prepare import tell


class Listed:
    """A `Source` of files in memory."""

    def __init__(self, *files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def read(self, i):
        return self.files[i]

    def name(self, i):
        return f"file{i}"

    def size(self, i):
        return len(self.files[i])


def picture(height=40, width=60, shade=0):
    """Smooth, so that JPEG changes little."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(y * 4 + shade) % 256, x * 4, (y + x) * 2], 2).clip(0, 255).astype(np.uint8)


def encoded(kind="PNG", **size):
    file = io.BytesIO()
    Image.fromarray(picture(**size)).save(file, kind, quality=95)
    return file.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def listed(count, **size):
    return Listed(*(encoded(shade=i, **size) for i in range(count))), torch.arange(count) % 3


CLASSES = ("a", "b", "c")


# ---- one image


def test_the_short_side_is_made_small_as_pillow_does():
    small = shrink(encoded("JPEG", height=80, width=120), "x", 20, 90)
    theirs = io.BytesIO()
    original = Image.open(io.BytesIO(encoded("JPEG", height=80, width=120)))
    original.resize((30, 20), Image.Resampling.BILINEAR).save(theirs, "JPEG", quality=90, subsampling="4:2:0")
    assert decoded(small).shape == (20, 30, 3)
    assert np.abs(decoded(small) - decoded(theirs.getvalue())).mean() < 0.5
    assert simplejpeg.decode_jpeg_header(small)[3] == "420"


def test_upright_images_too():
    assert decoded(shrink(encoded(height=61, width=40), "x", 20, 90)).shape == (30, 20, 3)


@pytest.mark.parametrize("side", [40, 41, 500])
def test_never_enlarged(side):
    small = shrink(encoded(), "x", side, 90)
    assert small[:2] == b"\xff\xd8"
    assert decoded(small).shape == (40, 60, 3) and np.abs(decoded(small) - picture()).mean() < 3


def test_a_small_jpeg_keeps_its_bytes():
    data = encoded("JPEG")
    assert shrink(data, "x", 40, 90) == data
    assert shrink(data, "x", 39, 90) != data


def test_quality_is_libjpegs():
    sizes = [len(shrink(encoded(height=200, width=300), "x", 100, quality)) for quality in (10, 50, 90)]
    assert sizes[0] < sizes[1] < sizes[2]
    tables = Image.open(io.BytesIO(shrink(encoded(), "x", 20, 90))).quantization
    theirs = io.BytesIO()
    Image.new("RGB", (8, 8)).save(theirs, "JPEG", quality=90)
    assert tables == Image.open(theirs).quantization


# ---- all of them


def test_reads_back_what_was_written(tmp_path):
    train, val = listed(40), listed(5)
    header = write(tmp_path / "out", {"train": train, "val": val}, CLASSES, side=20, mean=(0.1, 0.2, 0.3))
    assert header == read_header(tmp_path / "out")
    assert header["parts"] == {"train": [0, 40], "val": [40, 45]} and header["source"] == {"train": 40, "val": 5}
    assert (header["side"], header["quality"], header["classes"]) == (20, 90, ["a", "b", "c"])
    assert header["mean"] == [0.1, 0.2, 0.3]
    for part, (source, targets) in {"train": train, "val": val}.items():
        packed = Packed(tmp_path / "out", part)
        assert [packed.read(i) for i in range(len(packed))] == [shrink(f, "x", 20, 90) for f in source.files]
        assert [packed.size(i) for i in range(len(packed))] == [len(packed.read(i)) for i in range(len(packed))]
        assert torch.equal(packed.targets, targets) and packed.targets.dtype == torch.int64
    assert packed.name(1) == f"{tmp_path / 'out' / 'images.bin'}, image 41"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".") == ["out"]
    verify(tmp_path / "out")


def test_the_same_bytes_for_any_number_of_threads(tmp_path):
    parts = {"train": listed(50)}
    files = []
    for threads in (1, 2, 5):
        write(tmp_path / str(threads), parts, CLASSES, side=20, threads=threads)
        files.append({p.name: p.read_bytes() for p in (tmp_path / str(threads)).iterdir()})
    assert files[0] == files[1] == files[2] and len(files[0]) == 4


def test_few_images_wait_in_memory(monkeypatch):
    """A slow disk must not fill the memory with finished images."""
    started = []
    monkeypatch.setattr(shrink_module, "attempt", lambda source, i, side, quality: started.append(i) or b"x")
    results = shrink_module.shrink_all(range(10_000), 20, 90, "", threads=2)
    assert next(results) == (0, b"x")
    time.sleep(0.3)
    assert len(started) <= (4 * 2 + 3) * shrink_module.TASK
    results.close()
    assert len(started) < 1000


def test_torchs_threads_are_as_before(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        write(tmp_path / "out", {"train": listed(3)}, CLASSES, side=20)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_goes_to_workers_small_and_closed(tmp_path):
    write(tmp_path / "out", {"train": listed(40)}, CLASSES, side=20)
    packed = Packed(tmp_path / "out", "train")
    first = packed.read(3)
    data = pickle.dumps(packed)
    assert len(data) < 1000
    assert pickle.loads(data).read(3) == first


# ---- bad images


def test_all_bad_images_are_named_and_nothing_is_left(tmp_path):
    source, targets = listed(30)
    files = list(source.files)
    files[4], files[20] = encoded("JPEG")[:300], b"no image"
    with pytest.raises(ValueError, match=r"2 of 30 images of train cannot be used: file4 \(.*; file20 \(.*skip") as e:
        write(tmp_path / "out", {"train": (Listed(*files), targets)}, CLASSES, side=20)
    assert "--skip-unreadable" in str(e.value)
    assert [p for p in tmp_path.iterdir() if p.name != ".out.lock"] == []


def test_bad_images_left_out_take_their_targets_along(tmp_path):
    source, targets = listed(30)
    files = list(source.files)
    files[4], files[20] = encoded("JPEG")[:300], b"no image"
    with pytest.warns(UserWarning, match="2 of 30 images cannot be read and are left out: file4"):
        header = write(tmp_path / "out", {"train": (Listed(*files), targets)}, CLASSES, side=20, skip_unreadable=True)
    good = [i for i in range(30) if i not in (4, 20)]
    packed = Packed(tmp_path / "out", "train")
    assert header["parts"] == {"train": [0, 28]} and header["source"] == {"train": 30}
    assert [packed.read(i) for i in range(28)] == [shrink(files[i], "x", 20, 90) for i in good]
    assert torch.equal(packed.targets, targets[good])


def test_a_damaged_jpeg_is_bad_too(tmp_path):
    """Its picture would be garbage, and nothing would tell later."""
    data = bytearray(encoded("JPEG", height=200, width=200))
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    with warnings.catch_warnings(), pytest.raises(ValueError, match="1 of 1 images"):
        warnings.simplefilter("ignore")
        write(tmp_path / "out", {"train": (Listed(bytes(data)), torch.zeros(1).long())}, ("a",), side=20)


# ---- the disk, interruptions


def test_too_small_a_disk_is_told_before(tmp_path, monkeypatch):
    parts = {"train": listed(40)}
    needed = sum(len(shrink(f, "x", 20, 90)) for f in parts["train"][0].files)
    assert needed < pack_writer.estimate(parts, 20, 90) < 1.3 * needed + 16 * 45
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(OSError, match=r"too small: about .* GB are needed and .* GB are free; nothing was left") as e:
        write(tmp_path / "out", parts, CLASSES, side=20)
    assert e.value.errno == errno.ENOSPC
    assert [p for p in tmp_path.iterdir() if p.name != ".out.lock"] == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_stopped_in_the_middle_leaves_nothing_and_starts_again(error, tmp_path, monkeypatch):
    def few(*args):
        for i, data in enumerate(real(*args)):
            if i == 20:
                raise error
            yield i, data[1]

    real, parts = pack_writer.shrink_all, {"train": listed(40)}
    monkeypatch.setattr(pack_writer, "shrink_all", few)
    with pytest.raises(type(error)) as caught:
        write(tmp_path / "out", parts, CLASSES, side=20)
    if isinstance(error, OSError):
        assert "GB are needed" in str(caught.value)
    assert [p for p in tmp_path.iterdir() if p.name != ".out.lock"] == []
    monkeypatch.undo()
    assert write(tmp_path / "out", parts, CLASSES, side=20)["parts"] == {"train": [0, 40]}


def test_what_a_killed_process_left_is_deleted(tmp_path):
    (tmp_path / ".out.preparing").mkdir()
    (tmp_path / ".out.preparing" / "images.bin").write_bytes(b"half of it")
    write(tmp_path / "out", {"train": listed(4)}, CLASSES, side=20)
    verify(tmp_path / "out")
    assert not (tmp_path / ".out.preparing").exists()


def test_does_not_overwrite(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="out is there already: use it, delete it, or choose another place"):
        write(tmp_path / "out", {"train": listed(4)}, CLASSES)


@pytest.mark.parametrize("wrong", [{"side": 0}, {"quality": 0}, {"quality": 101}])
def test_wrong_arguments(wrong, tmp_path):
    with pytest.raises(ValueError, match="size must be at least 1 pixel and quality in 1 to 100"):
        write(tmp_path / "out", {"train": listed(4)}, CLASSES, **wrong)


# ---- bad folders


@pytest.fixture
def out(tmp_path):
    write(tmp_path / "out", {"train": listed(10)}, CLASSES, side=20)
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["images.bin", "offsets.npy", "targets.npy"])
def test_a_truncated_or_missing_file_is_told_at_once(name, out):
    data = (out / name).read_bytes()
    (out / name).write_bytes(data[:-1])
    with pytest.raises(ValueError, match=rf"{name} has {len(data) - 1:,} bytes instead of {len(data):,}: delete"):
        Packed(out, "train")
    (out / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} has 0 bytes instead of {len(data):,}: delete the folder and"):
        Packed(out, "train")


@pytest.mark.parametrize("name", ["images.bin", "offsets.npy", "targets.npy"])
def test_verify_finds_a_changed_byte(name, out):
    data = bytearray((out / name).read_bytes())
    data[-5] ^= 1
    (out / name).write_bytes(data)
    Packed(out, "train")
    with pytest.raises(ValueError, match=f"{name} has changed since it was written"):
        verify(out)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "header.json is damaged"),
        ("[]", "was not written by `zoo prepare`"),
        ('{"format": "webdataset"}', "was not written by `zoo prepare`"),
        (
            json.dumps({"format": FORMAT, "version": 99}),
            "has version 99, not 1: prepare it again",
        ),
    ],
)
def test_other_headers(text, said, out):
    (out / "header.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_header(out)


def test_other_folders(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            ValueError, match=r"is not a prepared data set \(no header.json\): make one with `zoo prepare`"
        ):
            Packed(folder, "train")


def test_no_warnings_of_numpy(out):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        packed = Packed(out, "train")
        packed.read(0)
        packed.targets.add_(1)  # a copy of ours: writable


# ---- whatever stands in the files

WRONG = [
    {"storage": "zip"},
    {"classes": None},
    {"classes": []},
    {"classes": ["a", 3]},
    {"parts": None},
    {"parts": {}},
    {"parts": {"train": [0]}},
    {"parts": {"train": [5, 5]}},
    {"parts": {"train": [0, "5"]}},
    {"parts": {"train": [-1, 5]}},
    {"parts": {"all": [0, 5]}},
    {"files": None},
    {"files": {"images.bin": 3}},
    {"files": {"../x": [0, "sha256:" + "0" * 64]}},
    {"files": {"images.bin": [0, "md5:0"]}},
    {"files": {}},
    {"mean": "grey"},
    {"mean": [0.5] * 2},
    {"std": [float("nan")] * 3},
    {"version": None},
    {"side": None},
    {"quality": [90]},
    {"source": "train"},
    {"source": {"train": [1]}},
    {"val_split": "a tenth"},
    {"val_split": 1.5},
]


@pytest.mark.parametrize("change", WRONG)
def test_a_damaged_header_is_one_clear_error(change, out):
    header = json.loads((out / "header.json").read_text())
    (out / "header.json").write_text(json.dumps({**header, **change}))
    with pytest.raises(ValueError, match="is damaged|has version None"):
        read_header(out)


JUNK = [None, True, 0, -1, 3.5, 1e400, float("nan"), "", "../x", [], {}, [[]], {"a": 1}, 2**70, [0, 5], ["a"] * 3]


def places_in(value, path=()):
    """Return where everything stands that a header holds."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, each in inside for place in places_in(each, (*path, key))]


def damaged(header, rng):
    """Return the header with one of its values taken out or replaced."""
    header = json.loads(json.dumps(header))
    *way, last = rng.choice(places_in(header)[1:])
    holder = header
    for key in way:
        holder = holder[key]
    if rng.random() < 0.3:
        del holder[last]
    else:
        holder[last] = rng.choice(JUNK)
    return json.dumps(header).encode()


def scrambled(whole, rng):
    """Return the bytes with three of them changed, often cut short."""
    data = bytearray(whole)
    for _ in range(3):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(1, 2 * len(data))])


def use(out):
    """Read what a prepared folder is asked for: its parts, an image, and what `zoo prepare` says of it."""
    data = Prepared(out, num_workers=0)
    images = {part: data.source(part) for part in data.header["parts"]}
    source, targets = next(iter(images.values()))
    assert len(source) == len(targets) and source.read(0)
    tell(out, None)


@pytest.mark.slow
def test_2000_damaged_headers(out, capsys):
    """Each is harmless, or one ValueError that names the folder."""
    whole, rng, refused = (out / "header.json").read_bytes(), random.Random(0), 0
    for i in range(2000):
        text = scrambled(whole, rng) if i % 2 else damaged(json.loads(whole), rng)
        (out / "header.json").write_bytes(text)
        try:
            use(out)
        except (ValueError, OSError) as error:
            assert str(out) in str(error) and "\n" not in str(error), text
            refused += 1
    assert 1700 < refused < 2000


@pytest.mark.parametrize("name", ["offsets.npy", "targets.npy"])
def test_bytes_at_random_in_an_index(name, out):
    whole, rng = (out / name).read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole)
        data[rng.integers(0, len(data))] = rng.integers(0, 256)
        (out / name).write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of a header's format
            try:
                images = Packed(out, "train")
                assert len(images.targets) == len(images)
                images.read(0)
            except ValueError as error:
                assert str(out) in str(error)


def test_of_two_that_prepare_the_same_the_second_takes_the_firsts(tmp_path):
    """Whether it waited for the first, or came when that was just done."""
    source, targets = listed(6)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(write, tmp_path / "out", {"train": (source, targets)}, CLASSES, side=20) for _ in range(3)]
        first, *others = (call.result() for call in calls)
    assert others == [first, first] and first == read_header(tmp_path / "out")
    with pytest.raises(ValueError, match="is there already"):
        write(tmp_path / "out", {"train": (source, targets)}, CLASSES, side=21)
