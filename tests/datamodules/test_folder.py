"""Folders of images: layouts, file formats, sizes, and one clear line for what cannot be used."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolder
from datamodules import folder as module
from datamodules.frame import memory as memory_module
from datamodules.frame.decode import usable_cores
from datamodules.frame.files import FileData, FileSet
from datamodules.frame.memory import MemorySet, measure


def random_image(side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def loaded(root, stage=None, **options):
    data = ImageFolder(root, batch_size=4, **{"cache": "memory", **options})
    data.setup(stage)
    return data


def test_reads_classes_and_images(folder):
    data = loaded(folder)
    assert data.classes == ("ant", "bee") and data.num_classes == 2 and data.image_size == 8
    assert data.train_set.targets.tolist() == [0] * 50 + [1] * 50
    expected = [np.asarray(Image.open(p)) for p in sorted((folder / "train").rglob("*.png"))]
    assert np.array_equal(data.train_set.images, np.stack(expected))
    assert len(data.test_set) == 100 and len(data.val_indices) == 10


def test_a_tree_without_parts(folder):
    data = loaded(folder / "train", "fit")
    assert data.classes == ("ant", "bee") and len(data.train_set) == 100
    data.setup("test")
    with pytest.raises(RuntimeError, match="ImageFolder has no test images, or setup"):
        data.test_dataloader()


def test_a_validation_folder_is_the_validation_set(folder):
    shutil.move(folder / "test", folder / "val")
    shutil.rmtree(folder / "val" / "bee")
    data = loaded(folder, "fit")
    assert len(data.train_indices) == 100 and len(data.val_indices) == 50
    assert sum(len(y) for _, y in data.val_dataloader()) == 50
    with pytest.raises(
        ValueError, match="val is the validation set: leave out val_split and folds, or remove the folder"
    ):
        ImageFolder(folder, val_split=0.1)
    with pytest.raises(ValueError, match="leave out val_split and folds, or remove the folder"):
        ImageFolder(folder, fold=0, folds=5)


def test_other_files_deep_folders_and_capitals(folder):
    (folder / "train" / "ant" / "notes.txt").write_text("not an image")
    (folder / "train" / "ant" / ".hidden.png").write_text("not an image")
    (folder / "train" / ".cache").mkdir()
    deep = folder / "train" / "bee" / "images"
    deep.mkdir()
    Image.fromarray(random_image()).save(deep / "x.JPEG")
    assert len(loaded(folder, "fit").train_set) == 101


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (16, 10), (4, 4)])
def test_resizes_the_middle_square(folder, size):
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    side, top, left = min(size), (height - min(size)) // 2, (width - min(size)) // 2
    picture[top : top + side, left : left + side] = 200
    path = folder / "train" / "ant" / "000.png"
    Image.fromarray(picture).save(path)
    data = loaded(folder, "fit", image_size=8)
    assert (data.train_set.images[0] == 200).all()


def test_sizes_that_differ_are_refused_without_image_size(folder):
    Image.fromarray(random_image(9)).save(folder / "train" / "bee" / "odd.png")
    with pytest.raises(ValueError, match=r"1 of 101 images cannot be used: .*odd.png \(9 x 9 pixels instead of 8 x 8"):
        loaded(folder, "fit")
    Image.fromarray(random_image()[:5]).save(folder / "train" / "ant" / "000.png")
    with pytest.raises(ValueError, match="000.png has 5 x 8 pixels, which is not square: give image_size"):
        ImageFolder(folder, cache="memory")


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match="there is no folder .*nowhere: it should hold one folder of images a class"):
        ImageFolder(tmp_path / "nowhere")


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="has no folders in it: it should hold one folder of images a class"):
        ImageFolder(tmp_path)


def test_class_without_images(folder):
    (folder / "train" / "cat").mkdir()
    with pytest.raises(ValueError, match="no images in .*train/cat: fill or delete it"):
        ImageFolder(folder)


def test_class_that_training_has_not(folder):
    shutil.rmtree(folder / "train" / "ant")
    with pytest.raises(ValueError, match="test has classes missing from .*train: ant"):
        ImageFolder(folder)


def spoil(path, kind):
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"hello", "zeros": bytes(500)}[kind])


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "zeros"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_broken_images_are_counted_and_named(folder, kind, suffix):
    for i in range(5):
        path = folder / "train" / "bee" / f"broken{i}.{suffix}"
        Image.fromarray(random_image()).save(path)
        spoil(path, kind)
    with pytest.raises(ValueError, match=r"5 of 105 images cannot be used: .*broken0.*broken1.*broken2") as caught:
        loaded(folder, "fit")
    message = str(caught.value)
    assert "broken3" not in message and "\n" not in message
    assert message.endswith("repair or delete them, or leave out what cannot be read with skip_unreadable=True")


def test_broken_first_image(folder):
    spoil(folder / "train" / "ant" / "000.png", "text")
    with pytest.raises(ValueError, match=r"000.png cannot be read .* repair or delete it"):
        ImageFolder(folder, cache="memory")


def test_more_images_than_memory(folder, monkeypatch):
    monkeypatch.setattr(memory_module, "free_memory", lambda: 3 * 100 * 192)
    with pytest.raises(
        MemoryError, match="100 images of 8 x 8 pixels take 0.0 GB of memory.* choose cache=None, which"
    ):
        loaded(folder, "fit")
    monkeypatch.setattr(memory_module, "free_memory", lambda: 4 * 100 * 192)
    loaded(folder, "fit")


def test_free_memory_is_told_in_bytes():
    free = memory_module.free_memory()
    assert free is None or 2**24 < free < 2**50


def test_progress_is_shown_for_many_files_only(folder, capsys, monkeypatch):
    loaded(folder, "fit")
    assert capsys.readouterr().err == ""
    files = [folder / "train" / "ant" / "000.png"] * 5000
    monkeypatch.setattr(module, "find_images", lambda *_: {"ant": files})
    loaded(folder, "test")
    assert "images/s" in capsys.readouterr().err


# The two ways


def test_files_by_default(folder):
    data = ImageFolder(folder, 4)
    data.setup()
    assert isinstance(data.train_set, FileSet) and data.image_size == 224 and data.num_workers == usable_cores()
    assert (data.mean, data.std) == (FileData.mean, FileData.std)
    names = [str(path) for path in sorted((folder / "train").rglob("*.png"))]
    assert [data.train_set.source.name(i) for i in range(100)] == names
    assert data.train_set.targets.tolist() == [0] * 50 + [1] * 50
    assert data.train_set.__getitems__([(0, 1)])[0].shape == (1, 3, 224, 224)


def test_files_of_any_size(folder):
    Image.fromarray(random_image(9)[:, :5]).save(folder / "train" / "bee" / "odd.png")
    data = ImageFolder(folder, 4, image_size=8, val_split=0)
    data.setup("fit")
    assert data.train_set.__getitems__([(0, 100), (0, 3)])[0].shape == (2, 3, 8, 8)


def test_memory(folder):
    data = loaded(folder, padding=2, flip=False, mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    assert isinstance(data.train_set, MemorySet) and data.image_size == 8 and data.num_workers == 0
    assert data.train_set.augment.store.padding == 2 and not data.train_set.augment.flip
    assert (data.mean, data.std) == ((0.1, 0.2, 0.3), (1, 2, 3))
    measured = loaded(folder, "test")
    assert measured.mean == measure(loaded(folder, "fit").train_set.images)[0]
    with pytest.warns(UserWarning, match="num_workers=2: workers make images in memory several times slower"):
        ImageFolder(folder, cache="memory", num_workers=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "disk"}, "cache must be None .* or \"memory\", got 'disk'"),
        ({"padding": 4}, 'padding is an option of cache="memory": choose that, or augment files by transform='),
        ({"flip": False}, 'flip is an option of cache="memory"'),
        ({"cutout": 8}, 'cutout is an option of cache="memory"'),
        ({"cache": "memory", "evaluation": "10-crop"}, "evaluation is an option of cache=None: images in memory"),
        ({"cache": "memory", "cutout": 0}, "cutout must be a side of at least 1 pixel"),
        ({"cache": "memory", "mean": (0.5, 0.5, 0.5)}, "mean and std belong together"),
    ],
)
def test_options_of_the_other_way(options, message, folder):
    with pytest.raises(ValueError, match=message):
        ImageFolder(folder, **options)


def test_a_transform_in_memory(folder):
    plain, inverted = (loaded(folder, "fit", transform=transform) for transform in (None, lambda x: 255 - x))
    items = [(1, 2), (1, 60)]
    one, two = plain.train_set.__getitems__(items)[0], inverted.train_set.__getitems__(items)[0]
    assert torch.equal(one, 255 - two)


@pytest.mark.parametrize("cache", [None, "memory"])
def test_unreadable_images_are_left_out(cache, folder):
    spoil(folder / "train" / "ant" / "007.png", "text")
    spoil(folder / "train" / "bee" / "001.png", "truncated")
    spoil(folder / "test" / "bee" / "000.png", "empty")
    data = ImageFolder(folder, 4, cache=cache, image_size=8, skip_unreadable=True, val_split=0)
    with pytest.warns(UserWarning) as told:
        data.setup()
    messages = [str(warning.message) for warning in told]
    assert len(messages) == 2 and "1 of 100 images cannot be read and are left out" in messages[1]
    assert messages[0].startswith("2 of 100 images cannot be read and are left out") and "ant/007.png" in messages[0]
    assert len(data.train_set) == 98 and len(data.test_set) == 99
    assert data.train_set.targets.tolist() == [0] * 49 + [1] * 49
    bad = {("ant", "007.png"), ("bee", "001.png")}
    good = [p for p in sorted((folder / "train").rglob("*.png")) if (p.parent.name, p.name) not in bad]
    if cache is None:
        assert [data.train_set.source.name(i) for i in range(98)] == [str(path) for path in good]
    else:
        assert np.array_equal(data.train_set.images, np.stack([np.asarray(Image.open(path)) for path in good]))


def test_order_of_classes_is_alphabetical(tmp_path):
    for name in ("b", "a", "C"):
        (tmp_path / name).mkdir()
        Image.fromarray(random_image()).save(tmp_path / name / "x.png")
    data = ImageFolder(tmp_path, batch_size=1, val_split=0, cache="memory")
    data.setup("fit")
    assert data.classes == ("C", "a", "b")
    assert torch.equal(data.train_set.targets, torch.arange(3))
