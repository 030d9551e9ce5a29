"""Folders of images: names of parts in any letters, links, unlabelled test images, formats that are not read."""

import os

import numpy as np
import pytest
from PIL import Image

from datamodules import ImageFolder
from datamodules.frame.tree import find_images, find_parts, images_below


def fill(folder, count=4, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(folder / f"{i}.{suffix}")
    return folder


def tree(root, *parts):
    for part in parts:
        for name in ("cat", "dog"):
            fill(root / part / name)
    return root


def ready(root, stage="fit", **options):
    data = ImageFolder(root, 2, image_size=8, num_workers=0, **options)
    data.prepare_data()
    data.setup(stage)
    return data


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("val", ["val", "Val", "valid", "validation"])
def test_names_of_parts(train, val, tmp_path):
    data = ready(tree(tmp_path, train, val, "Testing"), None)
    assert len(data.train_indices) == len(data.val_indices) == len(data.test_set) == 8
    assert data.classes == ("cat", "dog")


def test_two_folders_for_one_part(tmp_path):
    with pytest.raises(ValueError, match="val and .*valid both look like the images for val"):
        find_parts(tree(tmp_path, "train", "val", "valid"))


@pytest.mark.filterwarnings("error")
def test_a_part_of_another_name_is_told(tmp_path):
    tree(tmp_path, "train", "eval")
    fill(tmp_path / "labels" / "0001")
    with pytest.warns(UserWarning, match="the classes of train, which are not used: eval: call them val or test"):
        assert find_parts(tmp_path) == {"train": tmp_path / "train"}
    (tmp_path / "eval").rename(tmp_path / "val")
    assert [*find_parts(tmp_path)] == ["train", "val"]  # and says nothing


def test_parts_without_training(tmp_path):
    with pytest.raises(ValueError, match="has test, valid and no folder of training images"):
        find_parts(tree(tmp_path, "valid", "test"))


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "train"):
        fill(tmp_path / name)
    assert ready(tmp_path).classes == ("bus", "train")


@pytest.mark.parametrize("cache", [None, "memory"])
def test_test_images_without_classes_are_predicted(cache, tmp_path):
    fill(tree(tmp_path, "train") / "test", 5)
    data = ready(tmp_path, None, cache=cache)
    assert data.test_set is None and len(data.train_indices) + len(data.val_indices) == 8
    with pytest.raises(RuntimeError, match="the 5 images of .*test have no class: predict them"):
        data.test_dataloader()
    data.setup("predict")
    images, targets = zip(*data.predict_dataloader(), strict=True)
    assert [int(x[0, 0, 0]) for batch in images for x in batch] == [0, 20, 40, 60, 80]
    assert all((t == -1).all() for t in targets)


def test_validation_images_without_classes_are_refused(tmp_path):
    fill(tree(tmp_path, "train") / "val")
    with pytest.raises(ValueError, match="val has no folders in it"):
        ready(tmp_path)


def test_linked_folders(tmp_path):
    root, elsewhere = tree(tmp_path / "root", ""), fill(tmp_path / "more", 5)
    os.symlink(elsewhere, root / "cat" / "more")
    os.symlink(root / "cat", root / "cat" / "round")  # a circle
    os.symlink(elsewhere, root / "fox")
    assert {name: len(found) for name, found in find_images(root).items()} == {"cat": 9, "dog": 4, "fox": 5}


def test_a_circle_of_links_is_not_gone_round(tmp_path, monkeypatch):
    fill(tmp_path / "cat")
    os.symlink(tmp_path / "cat", tmp_path / "cat" / "round")
    visited, walk = [], os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: (visited.append(step[0]) or step for step in walk(*a, **k)))
    assert len(images_below(tmp_path)[0]) == 4
    assert [os.path.basename(where) for where in visited] == [tmp_path.name, "cat", "round"]


def test_hidden_folders_are_passed_over(tmp_path):
    fill(tmp_path / ".hidden"), fill(tmp_path / "deep" / "er")
    assert len(images_below(tmp_path)[0]) == 4


def test_formats_that_are_read(tmp_path):
    for suffix in ("png", "ppm", "jfif", "webp", "tif", "bmp", "gif", "avif", "JPG"):
        fill(tree(tmp_path, "") / "cat", suffix=suffix)
    data = ready(tmp_path, val_split=0)
    assert len(data.train_set) == 4 * 9 + 4
    assert sum(len(x) for x, _ in data.train_dataloader()) == 40


def test_formats_that_are_not_read_are_counted(tmp_path):
    root = tree(tmp_path, "")
    for name in ("a.heic", "b.HEIC", "c.psd", "notes.txt", "Thumbs.db", ".hidden.psd"):
        (root / "cat" / name).write_bytes(b"x")
    with pytest.warns(UserWarning, match="in unsupported formats, which are skipped: 2 .heic, 1 .psd: convert"):
        assert len(find_images(root)["cat"]) == 4
    (root / "fox").mkdir()
    (root / "fox" / "a.nef").touch()
    with pytest.raises(ValueError, match=r"no images in .*fox \(2 .heic, .*1 .nef are not read\)"):
        find_images(root)
