"""Prepared: the original's batches where nothing was made smaller, in both storages; chunks from an address."""

import hashlib
import json
import multiprocessing
import os
import pickle
import queue
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolder, Prepared
from datamodules.frame import chunks as chunks_module
from datamodules.frame import pack_writer, prepared_folder
from datamodules.frame.chunks import ByChunk, Chunks, Store
from datamodules.frame.convert import write_chunks
from datamodules.frame.pack import Packed

STORAGES = ("packed", "chunks")


def write_jpegs(root, parts=("train", "test"), count=30, height=24, width=32):
    rng = np.random.default_rng(0)
    for part in parts:
        for name in ("ant", "bee"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.jpg")


def prepare(root, folder, **options):
    data = ImageFolder(folder)
    return pack_writer.write(root, {p: data.source(p) for p in data.files}, data.classes, **{"side": 24, **options})


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def batches(data, epoch=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [*loader, *data.val_dataloader(), *data.test_dataloader()]


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True)
    )


def small(root, **options):
    return Prepared(root, **{"batch_size": 8, "image_size": 16, "num_workers": 0, **options})


# ---- both storages


def test_small_jpegs_give_the_batches_of_their_folder(tmp_path):
    write_jpegs(tmp_path / "photos")
    prepare(tmp_path / "out", tmp_path / "photos")
    original = ImageFolder(tmp_path / "photos", 8, image_size=16, num_workers=0)
    for epoch in (0, 1):
        assert same(batches(ready(small(tmp_path / "out")), epoch), batches(ready(original), epoch))


def test_larger_ones_have_their_pixels_but_for_jpeg(tmp_path):
    y, x = np.mgrid[0:60, 0:80]
    for name, shade in (("ant", 0), ("bee", 90)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        pixels = np.stack([y * 2 + shade, x * 2, x + y], 2).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name / "1.png")
    prepare(tmp_path / "out", tmp_path / "photos", side=40)
    options = {"batch_size": 2, "image_size": 32, "num_workers": 0, "val_split": 0, "transform": ["center-crop"]}
    originals = (
        ImageFolder(tmp_path / "photos", **options).image_set("train").without_augmentation().__getitems__([0, 1])[0]
    )
    images = Prepared(tmp_path / "out", **options).image_set("train").without_augmentation().__getitems__([0, 1])[0]
    assert (images.float() - originals.float()).abs().mean() < 1.5


def test_the_storage_changes_nothing(prepared, monkeypatch):
    left, right = (ready(small(prepared(s), image_size=8)) for s in STORAGES)
    assert same(batches(left), batches(right))


@pytest.mark.parametrize("storage", STORAGES)
def test_classes_parts_and_colours_are_the_originals(storage, prepared):
    root = prepared(storage)
    header = prepared_folder.read_header(root)
    prepared_folder.write_header(root, {**header, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "val_split": 10})
    data = ready(small(root))
    assert data.classes == ("ant", "bee") and (data.mean, data.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert len(data.val_indices) == 10 and len(data.test_set) == 100
    assert data.train_set.targets.tolist() == [0] * 50 + [1] * 50
    own = ready(small(root, mean=(0, 0, 0), std=(1, 1, 1), folds=4, fold=0))
    assert own.mean == (0, 0, 0) and len(own.val_indices) == 25


def test_a_validation_part_is_used(tmp_path):
    write_jpegs(tmp_path / "photos", ("train", "val"), count=5)
    prepare(tmp_path / "out", tmp_path / "photos")
    data = ready(small(tmp_path / "out"))
    assert len(data.train_indices) == len(data.val_indices) == 10 and data.test_set is None
    assert data.val_set.source.read(0) == (tmp_path / "photos" / "val" / "ant" / "0.jpg").read_bytes()
    with pytest.raises(ValueError, match="comes with a validation set"):
        ready(small(tmp_path / "out", val_split=0.1))


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a prepared data set"):
        Prepared(tmp_path)


def test_chunks_of_something_else_are_refused(prepared):
    root = prepared("chunks")
    index = root / "train" / "index.json"
    index.write_text(index.read_text().replace('["bytes", "int"]', '["jpeg"]'))
    with pytest.raises(ValueError, match="has chunks that `zoo prepare` did not write"):
        ready(small(root))


def test_a_chunk_is_opened_once_for_equal_stores_and_for_no_other(prepared, tmp_path):
    """A copy of a data module, as each process has one, is equal to it; another folder or cache is not."""
    root = prepared("chunks")
    store, same = Store(root), pickle.loads(pickle.dumps(Store(root)))
    assert store == same and hash(store) == hash(same) and store != str(root)
    shutil.copytree(root, tmp_path / "elsewhere")
    elsewhere, cached = Store(tmp_path / "elsewhere"), Store(root)
    cached.folder = tmp_path / "copies"
    renamed = Store(root)
    renamed.root = "s3://bucket/x"
    assert store not in (elsewhere, cached, renamed)


def test_few_chunks_are_open(prepared, monkeypatch):
    chunks = Chunks(Store(prepared("chunks")), "train")
    assert [chunks.target(i) for i in range(100)] == [0] * 50 + [1] * 50
    packed = Packed(prepared("packed"), "train")
    assert all(chunks.read(i) == packed.read(i) and chunks.size(i) == packed.size(i) for i in range(100))
    assert chunks.name(16).endswith("train/chunk-0-1.bin, image 16 of train")
    assert (
        chunks_module.open_chunk.cache_info().maxsize == chunks_module.OPEN < 256
    )  # of 1,024 files that a process may have open


HOSTILE = ["../../evil", "/evil", "a/../../evil", "C:/evil", "..\\evil", "deeper/chunk", "", None, 3, ["x"]]


@pytest.mark.parametrize("name", HOSTILE)
def test_an_index_that_leads_out_of_the_folder(name, prepared, tmp_path):
    """The names would be written below the cache of copies."""
    root = prepared("chunks")
    index = json.loads((root / "train" / "index.json").read_text())
    index["chunks"][1]["filename"] = name
    (root / "train" / "index.json").write_text(json.dumps(index))
    for data in (small(root), small(f"local:{root}", cache=tmp_path / "copies")):
        with pytest.raises(ValueError, match="which lies outside its folder|in another folder"):
            ready(data)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"chunks": [], "config": {}}', '{"chunks": 3}', "[" * 100_000])
def test_a_damaged_index(text, prepared):
    root = prepared("chunks")
    (root / "train" / "index.json").write_text(text)
    with pytest.raises(ValueError, match="is damaged|was not written by"):
        ready(small(root))


@pytest.mark.parametrize("keep", [0, 3, 40, -1])
def test_a_chunk_cut_short(keep, prepared):
    root = prepared("chunks")
    chunk = root / "train" / "chunk-0-1.bin"
    chunk.write_bytes(chunk.read_bytes()[:keep])
    images = Chunks(Store(root), "train")
    with pytest.raises(ValueError, match="chunk-0-1.bin is cut short"):
        images.read(20)


def test_a_chunk_that_becomes_shorter_is_no_crash(prepared):
    """A memory map would have the system kill the process (SIGBUS)."""
    chunk, packed = prepared("chunks") / "train" / "chunk-0-0.bin", prepared("packed")
    for images, file in ((Chunks(Store(chunk.parents[1]), "train"), chunk), (Packed(packed, "train"), None)):
        file = packed / "images.bin" if file is None else file
        images.read(0)
        os.truncate(file, 10)
        with pytest.raises(ValueError, match="is cut short"):
            images.read(5)


def test_chunks_of_arrow_rows(prepared):
    """With pyarrow installed litdata 0.2.76 writes a table of places that are all equal."""
    root = prepared("chunks")
    chunk = root / "train" / "chunk-0-0.bin"
    data = chunk.read_bytes()
    places = np.frombuffer(data[4:72], np.uint32).copy()
    places[:] = places[0]
    chunk.write_bytes(data[:4] + places.tobytes() + data[72:])
    with pytest.raises(ValueError, match="another format .litdata writes one where pyarrow is installed"):
        Chunks(Store(root), "train").read(0)


def test_a_folder_is_verified_before_its_first_use_only(prepared, monkeypatch):
    root, seen = prepared("packed"), []
    monkeypatch.setattr(prepared_folder, "verify", lambda folder: seen.append(folder))
    for _ in range(2):
        small(root).prepare_data()
    assert seen == [root]
    os.utime(root / "images.bin", ns=(1, 1))
    small(root).prepare_data()
    assert len(seen) == 2


@pytest.mark.parametrize("name", ["images.bin", "targets.npy"])
def test_a_changed_byte_is_told_before_the_first_use(name, prepared):
    root = prepared("packed")
    data = bytearray((root / name).read_bytes())
    data[-1] ^= 1
    (root / name).write_bytes(data)
    for check in (small(root).verify, small(root).prepare_data):
        with pytest.raises(ValueError, match=f"{name} has changed since it was written"):
            check()


# ---- an address


@pytest.mark.parametrize("spoil", [lambda x: x[:-1], lambda x: x[:-1] + bytes([x[-1] ^ 1])])
def test_a_copy_that_is_another_is_not_kept(spoil, address, prepared, tmp_path):
    root = prepared("chunks")
    chunk = root / "train" / "chunk-0-0.bin"
    data = chunk.read_bytes()
    entry = [len(data), f"sha256:{hashlib.sha256(data).hexdigest()}"]
    prepared_folder.write_header(root, {**prepared_folder.read_header(root), "files": {"train/chunk-0-0.bin": entry}})
    chunk.write_bytes(spoil(data))
    images = Chunks(Store(address, tmp_path / "copies"), "train")
    with pytest.raises(
        RuntimeError, match="chunk-0-0.bin could not be fetched .*(bytes arrived|its checksum does not match)"
    ):
        images.read(0)
    assert not list(tmp_path.rglob("copies/*/train/chunk*"))
    chunk.write_bytes(data)
    assert len(images.read(0)) > 0


@pytest.fixture
def address(prepared):
    return f"local:{prepared('chunks')}"


def test_an_address_gives_the_same_images_in_another_order(address, prepared, tmp_path):
    here, there = ready(small(prepared("chunks"))), ready(small(address, cache=tmp_path / "copies"))
    assert same([*here.val_dataloader(), *here.test_dataloader()], [*there.val_dataloader(), *there.test_dataloader()])
    items = [list(data.train_dataloader().sampler) for data in (here, there)]
    assert items[0] != items[1] and sorted(items[0]) == sorted(items[1])


def test_a_chunk_is_fetched_once(address, prepared, tmp_path):
    batches(ready(small(address, cache=tmp_path / "copies")))
    copies = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("copies/*/train/*.bin")}
    assert len(copies) == 7
    shutil.rmtree(prepared("chunks") / "train")
    chunks_module.open_chunk.cache_clear()
    batches(ready(small(address, cache=tmp_path / "copies")))


def test_copies_beyond_the_limit_are_deleted(address, prepared, tmp_path):
    largest = max(p.stat().st_size for p in prepared("chunks").glob("train/*.bin"))
    limit = 3 * largest
    chunks = Chunks(Store(address, tmp_path / "copies", limit), "train")
    packed = Packed(prepared("packed"), "train")
    for i in [*range(0, 100, 7), *range(99, 0, -5)]:
        chunks_module.open_chunk.cache_clear()
        assert chunks.read(i) == packed.read(i)
        assert sum(p.stat().st_size for p in tmp_path.glob("copies/*/train/*.bin")) <= limit + largest


def test_prepared_anew_is_fetched_anew(address, prepared, tmp_path):
    first = Store(address, tmp_path / "copies")
    root = prepared("chunks")
    prepared_folder.write_header(root, {**prepared_folder.read_header(root), "quality": 50})
    second = Store(address, tmp_path / "copies")
    assert first.folder != second.folder == Store(address, tmp_path / "copies").folder


def test_what_cannot_be_fetched(tmp_path, prepared, monkeypatch):
    with pytest.raises(RuntimeError, match="nothing/header.json could not be fetched .*: check the address"):
        Prepared(f"local:{tmp_path}/nothing", cache=tmp_path / "copies")
    with pytest.raises(ValueError, match="skip_unreadable would fetch all images first"):
        small(f"local:{prepared('chunks')}", cache=tmp_path / "copies", skip_unreadable=True)
    monkeypatch.setitem(sys.modules, "litdata.streaming.downloader", None)
    with pytest.raises(ImportError, match=r"s3://b/x is read through litdata: pip install 'lightning-zoo\[stream\]'"):
        Prepared("s3://b/x", cache=tmp_path / "copies")


# ---- the order for chunks that have to be fetched


def by_chunk(rank=0, world=1, epoch=0, chunks=50, size=40, **options):
    chunk_of = torch.arange(chunks).repeat_interleave(size)
    order = ByChunk(torch.arange(chunks * size), shuffle=True, seed=1, chunk_of=chunk_of, **options)
    order.rank, order.num_replicas, order.epoch = rank, world, epoch
    return torch.tensor([index for _, index in order]), chunk_of


def test_an_epoch_has_each_image_once_and_only_a_few_chunks_at_a_time():
    index, chunk_of = by_chunk()
    assert torch.equal(index.sort().values, torch.arange(2000))
    place = {k: (chunk_of[index] == k).nonzero()[:, 0] for k in range(50)}
    for at in range(0, 2000, 50):
        assert sum(int(p[0]) <= at <= int(p[-1]) for p in place.values()) <= chunks_module.WINDOW + 1
    assert not torch.equal(index, by_chunk(epoch=1)[0]) and torch.equal(index, by_chunk()[0])


def test_it_is_a_good_mixture():
    index, chunk_of = by_chunk()
    started = chunk_of[index].unique_consecutive()
    assert len(started) > 0.75 * len(index)  # neighbours are from other chunks
    first = torch.stack([by_chunk(epoch=e)[0][:40].double().mean() for e in range(200)])
    assert first.mean() == pytest.approx(999.5, abs=30)  # every chunk comes first as often


@pytest.mark.parametrize("world", [2, 4, 5])
def test_each_process_reads_its_own_chunks(world):
    shares = [by_chunk(rank, world) for rank in range(world)]
    index = torch.cat([share for share, _ in shares])
    assert len(index) == len(index.unique()) == 2000 // world * world
    for share, chunk_of in shares:
        assert len(chunk_of[share].unique()) <= 50 / world + chunks_module.WINDOW + 1


def test_it_goes_on_in_the_middle(tmp_path):
    whole, _ = by_chunk(1, 2)
    order = ByChunk(torch.arange(2000), shuffle=True, seed=1, chunk_of=torch.arange(50).repeat_interleave(40))
    order.rank, order.num_replicas, order.start = 1, 2, 300
    assert [index for _, index in order] == whole[300:].tolist()


@pytest.mark.parametrize("fails", [False, True])
def test_the_next_chunks_are_on_their_way_and_no_others(fails):
    asked: queue.Queue[int] = queue.Queue()

    def fetch(chunk):
        asked.put(chunk)
        if fails:
            raise OSError("no network")

    order = ByChunk(
        torch.arange(2000), shuffle=True, seed=1, chunk_of=torch.arange(50).repeat_interleave(40), fetch=fetch
    )
    items, chunks, found = iter(order), [], []
    for _ in range(300):
        chunks.append(next(items)[1] // 40)
        used = list(dict.fromkeys(chunks))
        while len(found) < len(used) + chunks_module.AHEAD:
            found.append(asked.get(timeout=10))
        assert asked.empty() and set(used) <= set(found)
    items.close()
    plain, _ = by_chunk()
    assert (plain[:300] // 40).tolist() == chunks and len(list(order)) == 2000
    assert sorted(found) == sorted(list(dict.fromkeys((plain // 40).tolist()))[: len(found)])


def test_an_address_has_one_client_a_process(address, prepared, tmp_path, monkeypatch):
    downloader = pytest.importorskip("litdata.streaming.downloader")
    made, make = [], downloader.get_downloader
    monkeypatch.setattr(downloader, "get_downloader", lambda root, *rest: made.append(root) or make(root, *rest))
    batches(ready(small(address, cache=tmp_path / "copies")))
    assert made == [address]


def test_repeats_and_sampling_keep_their_counts():
    index, _ = by_chunk(repeats=3)
    assert len(index) == 2000 and index.unique(return_counts=True)[1].float().mean() == pytest.approx(3, abs=0.01)
    targets = torch.cat([torch.zeros(1500), torch.ones(500)]).long()
    index, _ = by_chunk(sampling="over", targets=targets)
    assert targets[index].bincount().tolist() == [1500, 1500]


# ---- litdata itself


@pytest.mark.slow
def test_litdata_writes_and_reads_the_same(tmp_path, monkeypatch):
    litdata = pytest.importorskip("litdata")
    write_jpegs(tmp_path / "photos", count=60, height=32)
    prepare(tmp_path / "packed", tmp_path / "photos")
    before = multiprocessing.get_start_method(allow_none=True)
    monkeypatch.setattr("datamodules.frame.convert.OPTIMIZE", SMALL_CHUNKS)
    data = ImageFolder(tmp_path / "photos")
    parts = {p: data.source(p) for p in data.files}
    header = write_chunks(tmp_path / "chunks", parts, data.classes, side=24, val_split=0.2)
    assert multiprocessing.get_start_method(allow_none=True) == before
    assert len(header["files"]) > 10 and header["storage"] == "litdata" and header["val_split"] == 0.2
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == ["chunks", "packed", "photos"]
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith("..")]  # locks of what was only on the way
    prepared_folder.verify(tmp_path / "chunks")

    ours, theirs = Chunks(Store(tmp_path / "chunks"), "train"), litdata.StreamingDataset(f"{tmp_path}/chunks/train")
    assert len(ours) == len(theirs) == 120
    for i, item in enumerate(theirs):
        assert (ours.read(i), ours.target(i)) == (item["image"], item["target"]) == (theirs[i]["image"], i // 60)
    assert same(batches(ready(small(tmp_path / "packed"))), batches(ready(small(tmp_path / "chunks", val_split=None))))


SMALL_CHUNKS = """
import sys
from datamodules.frame import convert as convert_module
convert_module.CHUNK = "10KB"
convert_module.optimize(*sys.argv[1:])
"""


def test_without_litdata_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.frame.convert.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"chunks are written by litdata: pip install 'lightning-zoo\[stream\]'"):
        write_chunks(tmp_path / "chunks", {}, ())
    assert os.listdir(tmp_path) == []


def test_a_failure_of_litdata_leaves_nothing(tmp_path, monkeypatch):
    write_jpegs(tmp_path / "photos", ("train",), count=3)
    data = ImageFolder(tmp_path / "photos")
    parts = {"train": data.source("train")}
    for said, error, advice in (
        ("OSError: [Errno 28] No space left on device", OSError, "too small: about .* GB are needed"),
        (
            "ValueError: so",
            RuntimeError,
            r"litdata.optimize could not write .* \(ValueError: so\); all of them were deleted",
        ),
    ):
        monkeypatch.setattr("datamodules.frame.convert.OPTIMIZE", f"import sys; sys.exit({said!r})")
        with pytest.raises(error, match=advice):
            write_chunks(tmp_path / "chunks", parts, data.classes)
        assert [p.name for p in tmp_path.iterdir() if p.name != ".chunks.lock"] == ["photos"]


def test_chunks_that_litdata_wrote_otherwise_are_noticed(tmp_path, monkeypatch, prepared):
    from datamodules.frame import convert as convert_module

    root = prepared("chunks")
    chunk = root / "test" / "chunk-0-2.bin"
    data = bytearray(chunk.read_bytes())
    data[-20] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(RuntimeError, match="changed the images of test: use --format packed"):
        convert_module._finish(prepared("packed"), root, prepared_folder.read_header(root))
