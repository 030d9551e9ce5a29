"""Folders of images: layouts, file formats, sizes, and one clear line for what cannot be used."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolder
from datamodules import folder as module
from datamodules._decode import decode


def random_image(side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def loaded(root, stage=None, **options):
    data = ImageFolder(root, batch_size=4, **options)
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
    with pytest.raises(ValueError, match="val is the validation set: leave out val_split, or the folder"):
        ImageFolder(folder, val_split=0.1)


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


def test_resize_is_antialiased(tmp_path):
    checkers = np.indices((16, 16)).sum(0) % 2 * np.uint8(255)
    Image.fromarray(checkers.astype(np.uint8)).save(tmp_path / "x.png")
    assert np.abs(decode(tmp_path / "x.png", 4, resized=True).astype(int) - 127).max() <= 8  # grey, neither 0 nor 255


def test_sizes_that_differ_are_refused_without_image_size(folder):
    Image.fromarray(random_image(9)).save(folder / "train" / "bee" / "odd.png")
    with pytest.raises(ValueError, match=r"1 of 101 images cannot be used: .*odd.png \(9 x 9 pixels instead of 8 x 8"):
        loaded(folder, "fit")
    Image.fromarray(random_image()[:5]).save(folder / "train" / "ant" / "000.png")
    with pytest.raises(ValueError, match="000.png has 5 x 8 pixels, which is not square: give image_size"):
        ImageFolder(folder)


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
    with pytest.raises(ValueError, match="test has classes that .*train has not: ant"):
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
    assert "broken3" not in message and "\n" not in message and message.endswith("repair or delete them")


def test_broken_first_image(folder):
    spoil(folder / "train" / "ant" / "000.png", "text")
    with pytest.raises(ValueError, match=r"000.png cannot be read .* repair or delete it"):
        ImageFolder(folder)


def test_more_images_than_memory(folder, monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 3 * 100 * 192)
    with pytest.raises(
        MemoryError, match="100 images of 8 x 8 pixels take 0.0 GB of memory.* choose a smaller image_size"
    ):
        loaded(folder, "fit")
    monkeypatch.setattr(module, "free_memory", lambda: 4 * 100 * 192)
    loaded(folder, "fit")


def test_free_memory_is_told_in_bytes():
    free = module.free_memory()
    assert free is None or 2**24 < free < 2**50


RGB = random_image(16)
GREY = RGB[..., 0]


@pytest.mark.parametrize(
    ("image", "suffix", "expected"),
    [
        (Image.fromarray(RGB), "png", RGB),
        (Image.fromarray(RGB), "bmp", RGB),
        (Image.fromarray(RGB), "tiff", RGB),
        (Image.fromarray(RGB).convert("RGBA"), "png", RGB),
        (Image.fromarray(np.dstack([RGB, GREY])), "png", RGB),  # transparency is dropped, not blended
        (Image.fromarray(GREY), "png", GREY),
        (Image.fromarray(GREY).convert("LA"), "png", GREY),
        (Image.fromarray(GREY).convert("1"), "png", np.asarray(Image.fromarray(GREY).convert("1")) * np.uint8(255)),
        (Image.fromarray(GREY.astype(np.uint16) * 256 + 77), "png", GREY),  # 16 bits
        (Image.fromarray(GREY).convert("P"), "gif", GREY),
    ],
    ids=["rgb", "bmp", "tiff", "rgba", "transparent", "grey", "grey+alpha", "bits", "16bit", "palette"],
)
def test_formats(image, suffix, expected, tmp_path):
    path = tmp_path / f"x.{suffix}"
    image.save(path)
    expected = expected if expected.ndim == 3 else expected[..., None].repeat(3, axis=2)
    assert np.array_equal(decode(path, 16, resized=False), expected)


def test_cmyk_and_names_that_lie(tmp_path):
    flat = Image.new("RGB", (8, 8), (200, 100, 50))
    flat.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    flat.save(tmp_path / "png.jpg", format="PNG")
    for name in ("cmyk.jpg", "png.jpg"):
        assert np.abs(decode(tmp_path / name, 8, resized=False).astype(int) - (200, 100, 50)).max() <= 3


def test_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(RGB).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(decode(tmp_path / "x.png", 16, resized=False), RGB)


def test_progress_is_shown_for_many_files_only(folder, capsys, monkeypatch):
    loaded(folder, "fit")
    assert capsys.readouterr().err == ""
    files = [folder / "train" / "ant" / "000.png"] * 5000
    monkeypatch.setattr(module, "find_images", lambda _: {"ant": files})
    loaded(folder, "test")
    assert "images/s" in capsys.readouterr().err


def test_order_of_classes_is_alphabetical(tmp_path):
    for name in ("b", "a", "C"):
        (tmp_path / name).mkdir()
        Image.fromarray(random_image()).save(tmp_path / name / "x.png")
    data = ImageFolder(tmp_path, batch_size=1, val_split=0)
    data.setup("fit")
    assert data.classes == ("C", "a", "b")
    assert torch.equal(data.train_set.targets, torch.arange(3))
