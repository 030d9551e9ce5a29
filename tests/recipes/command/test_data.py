"""`zoo prepare` and `zoo data show`: what is written and said, once and again, and wrong arguments."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolder, Prepared
from datamodules.frame.measure import measure_files
from recipes.command import data as data_module
from recipes.command import main as main_module
from recipes.command import prepare as prepare_module


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def run(monkeypatch, capsys):
    """`zoo` with these arguments, in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["zoo", *arguments])
        try:
            main_module.main()
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def photos(tmp_path):
    """20 ants, 10 bees in train/, 5 of each in test/."""
    rng = np.random.default_rng(0)
    for part, name, count in (("train", "ant", 20), ("train", "bee", 10), ("test", "ant", 5), ("test", "bee", 5)):
        (tmp_path / "photos" / part / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 100 + 50 * (name == "ant"), (30, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{i}.jpg")
    return tmp_path / "photos"


# ---- zoo prepare


def test_prepare_writes_says_how_to_use_it_and_does_it_once(run, photos, tmp_path):
    code, out, _ = run("prepare", "image-folder", "--root", "photos", "--size", "20")
    assert code == 0
    data = Prepared("photos-20", image_size=16, num_workers=0)
    assert data.classes == ("ant", "bee") and data.header["made_of"] == "ImageFolder" and data.header["side"] == 20
    assert "photos-20: 20 ant" not in out and "photos-20: 30 train, 10 test images" in out
    assert "short side 20, JPEG quality 90, a second generation" in out
    assert 'Prepared("photos-20")' in out and " kB an image" in out and "images a second" in out
    before = (tmp_path / "photos-20" / "images.bin").stat().st_mtime_ns
    code, out, _ = run("prepare", "ImageFolder", "--root", "photos", "--size", "20")
    assert code == 0 and "photos-20 is there already, prepared from the same images with the same options" in out
    assert (tmp_path / "photos-20" / "images.bin").stat().st_mtime_ns == before


@pytest.mark.parametrize("other", [["--quality", "80"], ["--size", "10"]])
def test_prepare_does_not_take_one_for_the_other(run, photos, other):
    assert run("prepare", "ImageFolder", "--root", "photos", "--out", "out", "--size", "20")[0] == 0
    code, _, err = run("prepare", "ImageFolder", "--root", "photos", "--out", "out", "--size", "20", *other)
    assert code == 2 and "out is there already: use it, delete it" in err


def test_prepare_does_not_touch_another_folder(run, photos):
    code, _, err = run("prepare", "ImageFolder", "--root", "photos", "--out", "photos")
    assert code == 2 and "photos is there already: use it, delete it" in err and len(list(photos.rglob("*.jpg"))) == 40


def test_prepare_names_bad_images_or_leaves_them_out(run, photos, tmp_path):
    (photos / "train" / "bee" / "3.jpg").write_bytes(b"no image")
    code, _, err = run("prepare", "ImageFolder", "--root", "photos")
    assert code == 2 and "1 of 30 images of train" in err and "bee/3.jpg" in err and "--skip-unreadable" in err
    assert not (tmp_path / "photos-256").exists()
    with pytest.warns(UserWarning, match="1 of 30 images cannot be read and are left out: photos/train/bee/3.jpg"):
        code, out, _ = run("prepare", "ImageFolder", "--root", "photos", "--skip-unreadable")
    assert code == 0 and "29 train, 10 test images" in out and "1 images that cannot be read are left out" in out


def test_prepare_interrupted(run, photos, monkeypatch, tmp_path):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("datamodules.frame.pack_writer.shrink_all", interrupted)
        code, _, err = run("prepare", "ImageFolder", "--root", "photos")
    assert code == 130 and "the same command starts again" in err
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == ["photos"]
    assert run("prepare", "ImageFolder", "--root", "photos")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Digits"], "Digits is read into memory as a whole, which is faster than any files: nothing to prepare"),
        (["tiny-imagenet"], "TinyImageNet is read into memory as a whole"),
        (["imagnet"], "no data module 'imagnet'; did you mean ImageNet"),
        (["ImageFolder", "--root", "nowhere"], "there is no folder nowhere"),
        (["ImageFolder", "--root", "photos", "--size", "0"], "size must be at least 1 pixel"),
        (["ImageFolder", "--format", "tar"], "format"),
    ],
)
def test_prepare_with_wrong_arguments(run, photos, arguments, said):
    code, _, err = run("prepare", *arguments)
    assert code == 2 and said in err and "Traceback" not in err


def test_where_it_goes(tmp_path, monkeypatch):
    def default(name, root, format):
        return str(prepare_module.default(name, tmp_path / root, 256, format).relative_to(tmp_path))

    assert default("ImageNet", "data", "packed") == "data/imagenet-256"
    assert default("ImageFolder", "pets", "litdata") == "pets-256-litdata"
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path / "pets")
    assert (
        prepare_module.default("ImageFolder", prepare_module.Path("."), 64, "packed").resolve() == tmp_path / "pets-64"
    )


# ---- zoo data verify


def test_verify_tells_whether_a_byte_has_changed(run, photos):
    run("prepare", "image-folder", "--root", "photos", "--size", "20")
    code, out, _ = run("data", "verify", "photos-20")
    assert code == 0 and out.startswith("photos-20: 40 images, ") and "in 3 files, all as they were written" in out
    for name in ("targets.npy", "images.bin"):
        whole = (photos.parent / "photos-20" / name).read_bytes()
        (photos.parent / "photos-20" / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        code, _, err = run("data", "verify", "photos-20")
        assert code == 2 and err.count("\n") == 1
        assert err.startswith(f"zoo: photos-20/{name} has changed since it was written")
        (photos.parent / "photos-20" / name).write_bytes(whole)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "zoo data verify FOLDER"),
        (["photos"], "photos is not a prepared data set"),
        (["a", "b"], "zoo data verify FOLDER"),
    ],
)
def test_verify_of_something_else(run, photos, arguments, said):
    code, _, err = run("data", "verify", *arguments)
    assert code == 2 and said in err and err.count("\n") == 1


# ---- zoo data show


def test_show_tells_what_is_there(run, photos):
    code, out, _ = run("data", "show", "ImageFolder", "--root", "photos", "--batch", "batch.png")
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith("ImageFolder: Your own images")
    assert "images      27 train, 3 validation, 10 test" in lines
    assert "classes     2: ant, bee" in lines and "size        224 x 224 pixels for the network" in lines
    assert "training    inception: resized-crop, flip" in lines and "evaluation  center" in lines
    assert "balance     9 to 18 images a class, 1 to 2" in lines
    assert any(line.startswith("mean, std") and "ImageNet's" in line for line in lines)
    assert any(line.startswith("  measured") and "on all training images" in line for line in lines)
    ant, bee = (next(line for line in lines if line.startswith(name)) for name in ("ant", "bee"))
    assert ant.count("█") // 2 == bee.count("█") and len(ant) == 80
    with Image.open("batch.png") as image:
        assert image.size[0] > 100


def test_show_of_memory(run):
    code, out, _ = run("data", "show", "digits")
    assert code == 0 and "training    crop from 1 pixels of padding" in out and "evaluation  as they are" in out
    assert "measured on all training images" in out and "1,293 train, 144 validation, 360 test" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "ImageFolder"], "give their folder with --root"),
        (["show", "Digits", "--root", "x"], "Digits come with scikit-learn: leave out --root"),
        (["show", "CIFAR11"], "did you mean CIFAR10"),
        (["shw"], "no command 'data shw'; did you mean data show"),
    ],
)
def test_show_with_wrong_arguments(run, arguments, said):
    code, _, err = run("data", *arguments)
    assert code == 2 and said in err and err.count("\n") == 1


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_bars_fit(width):
    classes = ("a class of a very long name indeed, of forty", "b", "c")
    lines = data_module.histogram(classes, torch.tensor([1000, 500, 0]), width, None)
    assert len(lines) == 3 and len(lines[0]) <= max(width, 27) and len(lines[0]) >= min(width, 27)
    assert abs(lines[0].count("█") - 2 * lines[1].count("█")) <= 1 and lines[2].count("█") == 0
    assert "1,000" in lines[0]


def test_of_many_classes_the_ends_are_shown():
    classes = tuple(f"c{k}" for k in range(100))
    lines = data_module.histogram(classes, torch.arange(100), 80, 24)
    assert len(lines) == 25 and lines[0].startswith("c99") and lines[-1].startswith("c0")
    assert lines[12] == "... 76 classes between ... (--all shows them)"
    assert len(data_module.histogram(classes, torch.arange(100), 80, None)) == 100


def test_measured_as_numpy_does(photos):
    data = ImageFolder(photos, image_size=24, num_workers=0)
    data.setup()
    mean, std, count = measure_files(data.train_set, data.train_indices)
    images = data.train_set.without_augmentation().__getitems__(data.train_indices.tolist())[0].double() / 255
    assert count == 27
    torch.testing.assert_close(torch.tensor(mean).double(), images.mean((0, 2, 3)), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.tensor(std).double(), images.std((0, 2, 3), correction=0), rtol=0, atol=1e-6)


def test_measured_on_some(photos):
    data = ImageFolder(photos, image_size=24, num_workers=0, evaluation="10-crop")
    data.setup()
    whole, some = (measure_files(data.train_set, data.train_indices, limit) for limit in (None, 10))
    assert whole[2] == 27 and some[2] == 10 and whole[0] != some[0]
    assert some == measure_files(data.train_set, data.train_indices, 10)
    assert whole[0] == pytest.approx(some[0], abs=0.1)
