"""Encoded files: batches against a plain loop, each image's own draws, unreadable files in and out of workers."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from datamodules.frame import check as check_module
from datamodules.frame.check import find_readable, fingerprint
from datamodules.frame.decode import Unreadable, usable_cores
from datamodules.frame.files import FileData, FileSet
from datamodules.frame.image_data import _identity
from datamodules.frame.order import lend_generator
from datamodules.frame.source import Chosen, Paths
from datamodules.transforms import Center
from zoo import Preprocessing

SIDE = 16
CENTER = v2.CenterCrop(SIDE)


def train(image):
    """Draws from torch, as every transform."""
    return v2.functional.horizontal_flip(v2.RandomCrop(SIDE)(image)) if torch.rand(()) < 0.5 else CENTER(image)


@pytest.fixture
def paths(tmp_path):
    """Ten JPEGs and PNGs of various sizes."""
    rng, paths = np.random.default_rng(0), []
    for i in range(10):
        pixels = rng.integers(0, 256, (18 + i, 30 - i, 3), np.uint8)
        paths.append(tmp_path / f"image {i:02}.{'png' if i % 2 else 'jpg'}")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture
def images(paths):
    return FileSet(Paths(paths), torch.arange(10) * 10, train, CENTER)


def by_hand(path, transform, key, index):
    image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    with lend_generator() as seed:
        seed(key, index)
        return transform(image)


def test_a_batch_is_that_of_a_plain_loop(images, paths):
    items = [(5, 3), (5, 0), (7, 9), (8, 3)]
    batch, targets = images.__getitems__(items)
    assert batch.dtype == torch.uint8 and batch.shape == (4, 3, SIDE, SIDE)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert targets.tolist() == [30, 0, 90, 30] and targets.dtype == torch.int64
    for image, (key, index) in zip(batch, items, strict=True):
        assert torch.equal(image, by_hand(paths[index], train, key, index))


def test_draws_are_each_images_own(images):
    """Whatever the batch around it, its size and order: the same pixels; with another key or index others."""
    whole, _ = images.__getitems__([(1, i) for i in range(10)])
    for i in range(10):
        assert torch.equal(images.__getitems__([(1, i)])[0][0], whole[i])
    assert torch.equal(images.__getitems__([(1, i) for i in reversed(range(10))])[0], whole.flip(0))
    assert not torch.equal(images.__getitems__([(2, i) for i in range(10)])[0], whole)
    many, _ = images.__getitems__([(key, 4) for key in range(400)])
    middle = by_hand(images.source.name(4), CENTER, 0, 4)
    shares = (many == middle).flatten(1).all(1).float().mean().item()
    assert 0.42 < shares < 0.58  # of a fair coin, 400 times


def test_plain_indices_have_key_0(images):
    """So gives them the sampler of Trainer(overfit_batches=...)."""
    assert torch.equal(images.__getitems__([3, 4])[0], images.__getitems__([(0, 3), (0, 4)])[0])


def test_the_generator_of_the_run_is_left_alone(images):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = images.__getitems__([(1, 2)])[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(images.__getitems__([(1, 2)])[0], one)


def test_plain_is_not_augmented(images, paths):
    batch, targets = images.without_augmentation().__getitems__([(1, 2), (3, 4)])
    assert torch.equal(batch, torch.stack([by_hand(paths[i], CENTER, 0, i) for i in (2, 4)]))
    assert targets.tolist() == [20, 40] and len(images.without_augmentation()) == 10
    assert torch.equal(images.without_augmentation().without_augmentation().__getitems__([(1, 2), (3, 4)])[0], batch)


def test_several_views(images):
    images.evaluate = lambda image: torch.stack([CENTER(image), CENTER(image).flip(-1), CENTER(image) // 2])
    batch, _ = images.without_augmentation().__getitems__([(0, 1), (0, 2)])
    assert batch.shape == (2, 3, 3, SIDE, SIDE) and batch.dtype == torch.uint8
    assert torch.equal(batch[:, 1], batch[:, 0].flip(-1)) and torch.equal(batch[:, 2], batch[:, 0] // 2)
    assert batch.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_names_keep_every_letter(tmp_path):
    names = [tmp_path / "a b" / "ü.jpg", tmp_path / os.fsdecode(b"\xff.jpg"), tmp_path / "c"]
    source = Paths(names)
    assert len(source) == 3 and [source.name(i) for i in range(3)] == [str(name) for name in names]
    fingerprint(source)
    names[2].write_bytes(b"hello")
    assert source.read(2) == b"hello" and source.size(2) == 5 and source.size(0) == -1


def test_a_copy_for_a_worker_is_small(paths):
    source = Paths([f"/data/imagenet/train/n01440764/n01440764_{i:05}.JPEG" for i in range(10_000)])
    assert len(pickle.dumps(source)) < 60 * 10_000
    copy = pickle.loads(pickle.dumps(FileSet(Paths(paths), torch.arange(10), CENTER, CENTER)))
    expected = FileSet(Paths(paths), torch.arange(10), CENTER, CENTER).__getitems__([(1, 2)])
    assert all(map(torch.equal, copy.__getitems__([(1, 2)]), expected))


def test_chosen(paths):
    source, some = Paths(paths), Chosen(Paths(paths), torch.tensor([2, 5]))
    assert len(some) == 2
    assert (some.read(1), some.name(1), some.size(1)) == (source.read(5), source.name(5), source.size(5))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named(images, paths, workers):
    data = paths[4].read_bytes()
    paths[4].write_bytes(data[: len(data) * 3 // 4])
    loader = DataLoader(images, batch_size=5, collate_fn=_identity, num_workers=workers)
    message = r"image 04\.jpg cannot be read \(.*\): repair or delete it, or leave out .* with skip_unreadable=True"
    with pytest.raises(Unreadable, match=message):
        list(loader)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_transform_names_the_image(images, workers):
    images.train = v2.RandomCrop(20)  # the first three are 18, 19, 20 pixels high
    loader = DataLoader(images, batch_size=5, collate_fn=_identity, num_workers=workers)
    with pytest.raises(ValueError, match="larger than") as caught:
        list(loader)
    told = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert "in the transform of " in told and "image 00.jpg, torch.uint8 (3, 18, 30)" in told


# What cannot be read


def spoil(path):
    path.write_bytes(path.read_bytes()[:100])


def never(source, white=None):
    raise AssertionError("checked again")


def test_checked_once(paths, tmp_path, monkeypatch):
    notes = tmp_path / "notes.json"
    spoil(paths[3]), spoil(paths[7])
    for check in (check_module.find_unreadable, never):
        monkeypatch.setattr(check_module, "find_unreadable", check)
        with pytest.warns(UserWarning, match=r"2 of 10 images .* left out: .*image 03\.png \(.*image 07\.png \("):
            assert find_readable(Paths(paths), notes).tolist() == [0, 1, 2, 4, 5, 6, 8, 9]
    saved = json.loads(notes.read_text())["unreadable"]
    assert [(i, name) for i, name, _ in saved] == [(3, str(paths[3])), (7, str(paths[7]))]
    assert [path.name for path in tmp_path.glob("notes*")] == ["notes.json"]


def test_a_damaged_image_counts_as_unreadable(paths, tmp_path):
    data = paths[4].read_bytes()
    place = len(data) * 3 // 4
    paths[4].write_bytes(data[:place] + 50 * b"\xff\0" + data[place + 100 :])
    with pytest.warns(UserWarning, match=r"1 of 10 images .*image 04\.jpg \(Corrupt JPEG data"):
        assert 4 not in find_readable(Paths(paths), tmp_path / "notes.json")


def test_nothing_to_tell(paths, tmp_path):
    found = find_readable(Paths(paths), tmp_path / "notes.json")  # a warning would be an error
    assert found.tolist() == list(range(10))


@pytest.mark.parametrize("change", ["size", "name", "one more", "notes"])
def test_a_changed_folder_is_checked_again(change, paths, tmp_path, monkeypatch):
    notes = tmp_path / "notes.json"
    find_readable(Paths(paths), notes)
    monkeypatch.setattr(check_module, "find_unreadable", never)
    find_readable(Paths(paths), notes)
    if change == "size":
        spoil(paths[3])
    elif change == "name":
        paths[3] = paths[3].rename(tmp_path / "other.png")
    elif change == "one more":
        paths.append(paths[0])
    else:
        notes.write_text(notes.read_text()[:30])
    with pytest.raises(AssertionError, match="checked again"):
        find_readable(Paths(paths), notes)


def test_where_nothing_can_be_written(paths, tmp_path):
    spoil(paths[3])
    with pytest.warns(UserWarning, match="1 of 10 images"):
        assert 3 not in find_readable(Paths(paths), tmp_path / "nowhere" / "notes.json")


class Given(FileData):
    """The files of a test: each part the same, classes 0 and 1 in turn."""

    classes = ("a", "b")

    def __init__(self, paths, **options):
        super().__init__(2, **{"image_size": SIDE, "num_workers": 0, **options})
        self.root, self.paths = paths[0].parent, paths

    def source(self, part):
        return None if part == "val" else (Paths(self.paths), torch.arange(10) % 2)


def test_unreadable_images_leave_every_set(paths, trainer, linear):
    spoil(paths[3]), spoil(paths[8])
    data = Given(paths, skip_unreadable=True, val_split=2)
    with pytest.warns(UserWarning, match="2 of 10 images cannot be read and are left out"):
        data.prepare_data()
        data.setup()
    for images in (data.train_set, data.test_set, data.val_set):
        assert len(images) == 8
        assert [int(images.source.name(i)[-6:-4]) for i in range(8)] == [0, 1, 2, 4, 5, 6, 7, 9]
        assert images.targets.tolist() == [0, 1, 0, 0, 1, 0, 1, 1]
    model = linear(size=SIDE, classes=2)
    trainer(max_epochs=1).fit(model, data)
    assert model.val_images == 2 and len(model.train_batches) == 3
    assert {path.name for path in data.root.glob(".unreadable*")} == {".unreadable-train.json", ".unreadable-test.json"}


def test_prepared_by_one_process_for_all(paths, trainer, linear, monkeypatch):
    spoil(paths[3])
    with pytest.warns(UserWarning, match="1 of 10"):
        Given(paths, skip_unreadable=True).prepare_data()
    monkeypatch.setattr(check_module, "find_unreadable", never)
    other = Given(paths, skip_unreadable=True)
    with pytest.warns(UserWarning, match="1 of 10"):
        other.setup("fit")
    assert len(other.train_set) == 9


def test_only_the_parts_that_are_used_are_checked(paths, trainer, linear):
    data = Given(paths, skip_unreadable=True)
    trainer().test(linear(size=SIDE, classes=2), data, verbose=False)
    assert [path.name for path in data.root.glob(".unreadable*")] == [".unreadable-test.json"]


def test_not_checked_unless_asked_for(paths, monkeypatch):
    monkeypatch.setattr(check_module, "find_unreadable", never)
    data = Given(paths)
    data.prepare_data()
    data.setup()
    assert len(data.train_set) == 10 and not list(data.root.glob(".unreadable*"))


def test_options_reach_the_transforms(paths):
    data = Given(paths, transform=[train], evaluation=lambda image: CENTER(image) // 2, val_split=5)
    data.setup()
    batch, _ = data.train_set.__getitems__([(9, 1)])
    assert torch.equal(batch[0], by_hand(paths[1], train, 9, 1))
    for images in (data.val_set, data.test_set):
        assert torch.equal(images.__getitems__([(9, 1)])[0][0], by_hand(paths[1], CENTER, 9, 1) // 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size must be at least 1 pixel, got 0"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std belong together: give both, or neither for ImageNet's"),
        ({"transform": "resized-cropp"}, "resized-cropp.*did you mean 'resized-crop'"),
        ({"evaluation": "11-crop"}, "11-crop.*did you mean '10-crop'"),
    ],
)
def test_wrong_options(options, message, paths):
    with pytest.raises(ValueError, match=message):
        Given(paths, **options)


def test_a_transform_that_gives_no_bytes(paths):
    data = Given(paths, transform=lambda image: CENTER(image) / 255)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"torch.float32 \(3, 16, 16\), not torch.uint8 \(3, 16, 16\)"):
        data.train_set.__getitems__([(0, 1)])


def test_constants(paths):
    assert Given(paths).mean == (0.485, 0.456, 0.406) and Given(paths).std == (0.229, 0.224, 0.225)
    given = Given(paths, mean=[0.1, 0.2, 0.3], std=[1, 2, 3])
    assert (given.mean, given.std) == ((0.1, 0.2, 0.3), (1, 2, 3)) and FileData.mean == (0.485, 0.456, 0.406)


def test_a_worker_a_core_shared_by_the_processes_of_the_machine(paths, trainer, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert usable_cores() == 6
    data, chosen, crowded = (Given(paths, num_workers=number) for number in (None, 5, None))
    assert (data.num_workers, chosen.num_workers) == (6, 5)
    for module, devices in ((data, 2), (chosen, 4), (crowded, 8)):
        module.trainer = trainer(devices=devices)
        module.setup("fit")
    assert (data.num_workers, chosen.num_workers, crowded.num_workers) == (3, 5, 1)


def test_lightning_does_not_advise_workers(paths, linear, trainer, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    trainer(max_steps=1).fit(linear(size=SIDE), Given(paths, val_split=2))  # a warning would be an error


def test_the_base_is_abstract():
    with pytest.raises(NotImplementedError):
        FileData().setup("fit")


@pytest.mark.parametrize("shape", [(48, 64), (70, 40), (16, 16), (18, 17), (9, 9)])
@pytest.mark.parametrize("evaluation", ["center", "10-crop", Center(16, 24, "bicubic")])
def test_a_checkpoint_prepares_pictures_as_evaluation_does(evaluation, shape, tmp_path):
    """What the module says of its preprocessing gives its own batches, in zoo's words."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    data = Given([tmp_path / "x.png"] * 10, image_size=16, evaluation=evaluation)
    data.setup("test")
    how, batch = Preprocessing.of(data.preprocessing), data.test_set.__getitems__([0])
    theirs = how([torch.from_numpy(pixels).permute(2, 0, 1)])
    torch.testing.assert_close(theirs, data.on_after_batch_transfer(batch, 0)[0])


def test_an_evaluation_of_ones_own_is_not_told(paths):
    assert Given(paths, image_size=16, evaluation=["resize-short", "center-crop"]).preprocessing is None
    assert Given(paths, image_size=16, evaluation="multi-scale").preprocessing is None
