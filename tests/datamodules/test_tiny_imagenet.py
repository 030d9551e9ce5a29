"""Tiny-ImageNet from its zip and its folder, its cache, and what is said where files and labels do not go together."""

import pickle
import shutil
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from datamodules import TinyImageNet
from datamodules import tiny_imagenet as module
from datamodules.frame import download
from datamodules.frame.memory import measure
from datamodules.frame.tiny_layout import Layout, Zip

REAL = Path(__file__).parents[3] / "shared" / "data" / "tiny-imagenet-20.zip"
WNIDS = ("n01443537", "n02058221", "n03126707")


@pytest.fixture
def place(tiny):
    return tiny / "tiny-imagenet-200"


@pytest.fixture
def archive(tiny, place, monkeypatch):
    """The zip instead of the folder, with its own checksum as the official one."""
    shutil.make_archive(str(place), "zip", tiny, place.name)
    shutil.rmtree(place)
    path = place.with_name("tiny-imagenet-200.zip")
    digest = download.hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "CHECKSUM", f"sha256:{digest}")
    return path


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(module, "URL", "http://127.0.0.1:1/tiny-imagenet-200.zip")


def loaded(root, **options):
    data = TinyImageNet(root, batch_size=10, **options)
    data.prepare_data()
    data.setup()
    return data


def decoded(path):
    return np.asarray(Image.open(path).convert("RGB"))


def expected(place):
    """Literally: each class in the order of the wnids, its images by name, labels of val by the annotations."""
    train = [(path, k) for k, wnid in enumerate(WNIDS) for path in sorted((place / "train" / wnid).rglob("*.JPEG"))]
    lines = [line.split("\t")[:2] for line in (place / "val" / "val_annotations.txt").read_text().splitlines()]
    val = [(place / "val" / "images" / name, WNIDS.index(wnid)) for name, wnid in lines]
    return train, sorted(val, key=lambda item: (item[1], item[0]))


def test_reads_images_and_labels(tiny, place):
    data = loaded(tiny)
    for found, wanted in zip((data.train_set, data.test_set), expected(place), strict=True):
        assert found.targets.tolist() == [k for _, k in wanted]
        assert np.array_equal(found.images, np.stack([decoded(path) for path, _ in wanted]))
    assert (len(data.train_set), len(data.test_set), len(data.val_indices)) == (120, 30, 12)


def test_zip_and_folder_are_the_same(tiny, place, tmp_path):
    shutil.make_archive(str(tmp_path / "other"), "zip", tiny, place.name)
    folder, zipped = loaded(tiny), loaded(tmp_path / "other.zip")
    for part in ("train_set", "test_set"):
        assert np.array_equal(getattr(folder, part).images, getattr(zipped, part).images)
        assert getattr(folder, part).targets.equal(getattr(zipped, part).targets)
    assert folder.classes == zipped.classes and folder.wnids == zipped.wnids


def test_classes_are_in_the_order_of_their_numbers_with_the_first_name(tiny):
    data = loaded(tiny)
    assert data.wnids == WNIDS and data.classes == ("goldfish", "albatross", "crane") and data.num_classes == 3


def test_two_classes_of_one_name_and_one_without(tiny, place):
    (place / "words.txt").write_text("n01443537\tcrane\nn03126707\tcrane\n")
    assert TinyImageNet(tiny).classes == ("crane (n01443537)", "n02058221", "crane (n03126707)")


def test_grey_images_have_three_equal_colours(tiny):
    images = loaded(tiny).train_set.images
    assert (images == images[..., :1]).all((1, 2, 3)).sum() == 3


def test_augments_by_default_as_the_literature(tiny):
    data = TinyImageNet(tiny)
    assert (data.padding, data.flip, data.image_size) == (8, True, 64)
    assert data.mean == (0.4802, 0.4481, 0.3975) and data.std == (0.2770, 0.2691, 0.2821)


@pytest.mark.parametrize("where", ["parent", "folder"])
def test_root_is_the_folder_or_where_it_is(tiny, place, where):
    assert len(loaded(tiny if where == "parent" else place).train_set) == 120


# ---- downloading


def test_downloads_the_zip(archive, tmp_path, monkeypatch):
    asked = []

    def get(url, path, checksum):
        asked.append((url, checksum))
        shutil.copy(archive, path)

    monkeypatch.setattr(module, "fetch", get)
    (tmp_path / "new").mkdir()
    assert len(loaded(tmp_path / "new").train_set) == 120
    assert asked == [("http://cs231n.stanford.edu/tiny-imagenet-200.zip", module.CHECKSUM)]
    loaded(tmp_path / "new")
    assert len(asked) == 1


def test_a_good_zip_is_not_fetched(archive, tiny, no_network):
    assert len(loaded(tiny).train_set) == 120


def test_a_damaged_zip_is_fetched_again(archive, tiny, no_network):
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(
        RuntimeError, match="could not be fetched .* by hand and put it there as .*tiny-imagenet-200.zip"
    ):
        TinyImageNet(tiny).prepare_data()


def test_no_data_and_no_network(tmp_path, no_network):
    with pytest.raises(
        RuntimeError, match="could not be fetched .* by hand and put it there as .*tiny-imagenet-200.zip"
    ):
        TinyImageNet(tmp_path).prepare_data()


@pytest.mark.parametrize("ask", [lambda data: data.setup(), lambda data: data.classes])
def test_not_prepared(tmp_path, ask):
    with pytest.raises(RuntimeError, match="TinyImageNet is not in .*: call prepare_data.*, which downloads it"):
        ask(TinyImageNet(tmp_path))


def test_a_zip_that_is_something_else(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="a.zip is damaged .*: delete it and fetch it again"):
        loaded(tmp_path / "a.zip")
    with ZipFile(tmp_path / "b.zip", "w") as other:
        other.writestr("a/b.txt", "c")
    with pytest.raises(ValueError, match="b.zip holds no wnids.txt: it is not Tiny-ImageNet"):
        loaded(tmp_path / "b.zip")


# ---- the decoded images


@pytest.fixture
def decodings(monkeypatch):
    """Counts the decoded images."""
    names, real = [], module.decode

    def decode(data, name):
        names.append(name)
        return real(data, name)

    monkeypatch.setattr(module, "decode", decode)
    return names


def caches(folder):
    return sorted(path for path in folder.glob("*.npy*") if path.suffix != ".lock")


def test_decodes_once(tiny, decodings):
    first, second = loaded(tiny), loaded(tiny)
    assert len(decodings) == 150 and len(caches(tiny)) == 2
    assert np.array_equal(first.train_set.images, second.train_set.images)


def test_a_changed_image_is_decoded_again(tiny, place, decodings):
    loaded(tiny)
    path = place / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_0.JPEG"
    Image.new("RGB", (64, 64), (9, 9, 9)).save(path)
    images = loaded(tiny).train_set.images
    assert len(decodings) == 150 + 120 and (images[0] == 9).all()
    assert len(caches(tiny)) == 2  # the old one is gone


def test_fewer_images_are_decoded_again(tiny, place):
    loaded(tiny)
    (place / "train" / WNIDS[2] / "images" / f"{WNIDS[2]}_9.JPEG").unlink()
    assert len(loaded(tiny).train_set) == 119


def test_a_damaged_cache_is_told_and_not_used(tiny, place):
    wanted = loaded(tiny).train_set.images
    train = next(path for path in caches(tiny) if "train" in path.name)
    train.write_bytes(train.read_bytes()[:-5])
    with pytest.warns(UserWarning, match="train-.*npy is damaged: decoding the images again; delete it"):
        assert np.array_equal(loaded(tiny).train_set.images, wanted)


def test_where_nobody_may_write_it_decodes_each_time(tiny, place, decodings):
    tiny.chmod(0o555)
    try:
        loaded(tiny), loaded(tiny)
    finally:
        tiny.chmod(0o755)
    assert len(decodings) == 300 and caches(tiny) == []


def test_setup_alone(tiny):
    data = TinyImageNet(tiny)
    data.setup()
    assert len(data.train_set) == 120 and caches(tiny) == []


def test_a_disk_that_fills_up(tiny, monkeypatch):
    def save(file, images):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datamodules.frame.atomic.save_array", save)
    with pytest.raises(OSError, match="the disk of .*npy is too small .*; nothing was left there"):
        loaded(tiny)
    assert caches(tiny) == []


def test_goes_to_another_process(archive):
    layout = pickle.loads(pickle.dumps(Layout(archive)))
    name, target = layout.images("train")[0]
    assert target == 0 and Image.open(BytesIO(layout.read(name))).size == (64, 64)
    assert isinstance(layout.files, Zip)


def test_a_member_that_inflates_is_refused(archive, monkeypatch):
    """A few kilobytes may say to be gigabytes: what a member says of its size is read before it is inflated."""
    layout = Layout(archive)
    name = layout.images("train")[0][0]
    monkeypatch.setattr("datamodules.frame.tiny_layout.MAX_BYTES", layout.files.stamps[name][0] - 1)
    with pytest.raises(ValueError, match=f"holds {name} of .* bytes, too large for an image of 64 px"):
        layout.read(name)


# ---- what does not go together


def refused(root, words):
    with pytest.raises(ValueError, match=words) as caught:
        loaded(root)
    assert "\n" not in str(caught.value)


def annotate(place, change):
    path = place / "val" / "val_annotations.txt"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def test_order_of_the_annotations_does_not_matter(tiny, place):
    before = loaded(tiny).test_set
    annotate(place, lambda lines: lines[::-1])
    after = loaded(tiny).test_set
    assert np.array_equal(before.images, after.images) and before.targets.equal(after.targets)


def test_order_of_the_wnids_does_not_matter(tiny, place):
    before = loaded(tiny)
    (place / "wnids.txt").write_text("\n".join(WNIDS))
    after = loaded(tiny)
    assert before.classes == after.classes and before.train_set.targets.equal(after.train_set.targets)


def test_an_annotation_without_image(tiny, place):
    (place / "val" / "images" / "val_7.JPEG").unlink()
    refused(tiny, "1 images of val are named in val/val_annotations.txt but are not there, such as val_7.JPEG: unpack")


def test_an_image_without_annotation(tiny, place):
    annotate(place, lambda lines: lines[:-2])
    refused(tiny, "2 images of val have no line in val/val_annotations.txt, so no label, such as val_26.JPEG: unpack")


def test_an_unknown_class(tiny, place):
    annotate(place, lambda lines: [*lines[:4], "val_12.JPEG\tn99999999\t0\t0\t1\t1\n", *lines[5:]])
    refused(tiny, "line 5 of val/val_annotations.txt has the class 'n99999999', which is not in wnids.txt: unpack")


def test_a_line_without_class(tiny, place):
    annotate(place, lambda lines: ["val_0.JPEG\n", *lines[1:]])
    refused(tiny, "line 1 of val/val_annotations.txt has the class ''")


def test_two_classes_for_an_image(tiny, place):
    annotate(place, lambda lines: [*lines, f"val_0.JPEG\t{WNIDS[1]}\n"])
    refused(tiny, "val_annotations.txt gives val_0.JPEG two classes")


def test_no_annotations(tiny, place):
    (place / "val" / "val_annotations.txt").unlink()
    refused(tiny, "has no val/val_annotations.txt, so nothing tells the labels of val/images: unpack")


def test_a_class_without_validation_images(tiny, place):
    annotate(place, lambda lines: [line for line in lines if WNIDS[1] not in line])
    for i in range(10):
        (place / "val" / "images" / f"val_{3 * i + 1}.JPEG").unlink()
    refused(tiny, f"1 of 3 classes have no images in val, such as {WNIDS[1]}: .* or take them out of wnids.txt")


def test_a_class_without_training_images(tiny, place):
    shutil.rmtree(place / "train" / WNIDS[1])
    refused(tiny, f"1 of 3 classes have no images in train, such as {WNIDS[1]}")


def test_a_folder_that_is_no_class(tiny, place):
    (place / "wnids.txt").write_text("\n".join(WNIDS[:2]))
    refused(tiny, f"train has a folder {WNIDS[2]}, no class of wnids.txt")


@pytest.mark.parametrize("text", ["", "n01443537\nn01443537\n"])
def test_wnids_that_cannot_be(tiny, place, text):
    (place / "wnids.txt").write_text(text)
    refused(tiny, "wnids.txt is empty or lists a class twice")


def test_folders_of_training_images_that_were_exchanged(tiny, place):
    one, two, aside = (place / "train" / name for name in (*WNIDS[:2], "aside"))
    one.rename(aside), two.rename(one), aside.rename(two)
    refused(tiny, f"the labels look shuffled: 80 training images have the name of another class, such as {WNIDS[1]}_0")


def sort_into_folders(place, wrong=0):
    """What many scripts do to val, for ImageFolder; with the first `wrong` images in another class's folder."""
    for i, line in enumerate((place / "val" / "val_annotations.txt").read_text().splitlines()):
        name, wnid = line.split("\t")[:2]
        wnid = WNIDS[(WNIDS.index(wnid) + (i < wrong)) % 3]
        (place / "val" / wnid).mkdir(exist_ok=True)
        (place / "val" / "images" / name).rename(place / "val" / wnid / name)
    (place / "val" / "images").rmdir()


@pytest.mark.parametrize("annotated", [True, False])
def test_validation_images_that_somebody_sorted_into_folders(tiny, place, annotated):
    before = loaded(tiny).test_set
    sort_into_folders(place)
    if not annotated:
        (place / "val" / "val_annotations.txt").unlink()
    after = loaded(tiny).test_set
    assert np.array_equal(before.images, after.images) and before.targets.equal(after.targets)


def test_sorted_wrongly(tiny, place):
    sort_into_folders(place, wrong=1)
    refused(
        tiny, "the labels look shuffled: the images of val are in folders of other classes than val/val_annotations"
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_images_that_cannot_be_read_are_counted_and_named(tiny, place, zipped):
    for i in range(5):
        path = place / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_{i}.JPEG"
        path.write_bytes(path.read_bytes()[: 0 if i == 4 else 700])
    if zipped:
        shutil.make_archive(str(tiny / "x"), "zip", tiny, place.name)
    words = rf"5 of 120 images of .* cannot be used: train/{WNIDS[0]}/images/{WNIDS[0]}_0.JPEG \(.*delete it and fetch"
    refused(tiny / "x.zip" if zipped else tiny, words)


def test_an_image_of_another_size(tiny, place):
    Image.new("RGB", (65, 64)).save(place / "val" / "images" / "val_3.JPEG")
    refused(tiny, r"1 of 30 images .*val_3.JPEG \(64 x 65 pixels instead of 64 x 64")


def test_a_file_of_a_mac_is_no_image(tiny, place):
    (place / "train" / WNIDS[0] / "images" / f"._{WNIDS[0]}_0.JPEG").write_bytes(b"Mac OS X")
    assert len(loaded(tiny).train_set) == 120


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs tiny-imagenet-20.zip in ../shared/data")
def test_the_real_images_of_20_classes(tmp_path):
    (tmp_path / "twenty.zip").symlink_to(REAL)
    data = TinyImageNet(tmp_path / "twenty.zip", batch_size=500, val_split=0)
    data.prepare_data()
    data.setup()
    assert (data.num_classes, len(data.train_set), len(data.test_set)) == (20, 10_000, 1_000)
    assert data.classes[:3] == ("European fire salamander", "albatross", "standard poodle")
    assert data.train_set.targets.bincount().tolist() == [500] * 20
    assert data.test_set.targets.bincount().tolist() == [50] * 20
    with ZipFile(REAL) as archive:
        line = archive.read("tiny-imagenet-200/val/val_annotations.txt").decode().split("\n")[0].split("\t")
        picture = Image.open(BytesIO(archive.read(f"tiny-imagenet-200/val/images/{line[0]}"))).convert("RGB")
    same = (data.test_set.images == np.asarray(picture)).all((1, 2, 3))
    assert data.wnids[data.test_set.targets[same.nonzero()[0].item()]] == line[1]
    mean, std = measure(data.train_set.images)
    assert mean == pytest.approx(data.mean, abs=0.006) and std == pytest.approx(data.std, abs=0.004)
