"""ImageNet from its official archives and from folders, and what is said where files and labels do not go together."""

import os
import shutil
import tarfile
import threading
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import imagenet as module
from datamodules.frame.download import lock
from datamodules.imagenet import ImageNet, validation_labels
from tests.datamodules.conftest import IMAGENET

REAL = Path(__file__).parents[3] / "shared" / "data" / "imagenet-60.zip"
WNIDS = tuple(sorted(IMAGENET))


def loaded(root, stage=None, **options):
    data = ImageNet(root, 10, **{"num_workers": 0, "image_size": 16, "val_split": 0.1, **options})
    data.prepare_data()
    data.setup(stage)
    return data


@pytest.fixture
def unpacked(imagenet):
    """Where the folders are; no archives."""
    loaded(imagenet)
    for path in imagenet.glob("*.tar*"):
        path.unlink()
    return imagenet


def pixels(data):
    """The picture of each image of a set, as a list of arrays."""
    return [data.picture(i).permute(1, 2, 0).numpy() for i in range(len(data))]


def test_reads_the_archives(imagenet):
    data = loaded(imagenet)
    assert data.train_set.targets.tolist() == [k for k in range(4) for _ in range(30)]
    assert data.test_set.targets.tolist() == [k for k in range(4) for _ in range(10)]
    with tarfile.open(imagenet / "ILSVRC2012_img_train.tar") as outer:
        for k, wnid in enumerate(WNIDS):
            with tarfile.open(fileobj=outer.extractfile(f"{wnid}.tar")) as inner:
                names = sorted(inner.getnames())
                assert len(names) == 30
                picture = np.asarray(Image.open(inner.extractfile(names[7])))
            assert np.array_equal(pixels(data.train_set)[30 * k + 7], picture)


def test_labels_of_validation_are_by_the_devkits_own_numbers(imagenet):
    data = loaded(imagenet)
    truth = [list(IMAGENET)[i % 4] for i in range(40)]  # as the archive was written
    with tarfile.open(imagenet / "ILSVRC2012_img_val.tar") as archive:
        for i, wnid in enumerate(truth, 1):
            picture = np.asarray(Image.open(archive.extractfile(f"ILSVRC2012_val_{i:08}.JPEG")))
            (place,) = [n for n, other in enumerate(pixels(data.test_set)) if np.array_equal(picture, other)]
            assert WNIDS[data.test_set.targets[place]] == wnid
    assert (imagenet / "val" / truth[0] / "ILSVRC2012_val_00000001.JPEG").exists()


def test_classes_are_in_the_order_of_their_numbers_with_the_first_name(imagenet):
    data = loaded(imagenet)
    assert data.wnids == WNIDS == ("n01440764", "n02012849", "n02119789", "n03126707")
    assert data.classes == ("tench", "crane (n02012849)", "kit fox", "crane (n03126707)")


def test_defaults(imagenet):
    data = ImageNet(imagenet)
    assert (data.image_size, data.val_split, data.batch_size) == (224, 0.01, 64)
    assert data.mean == (0.485, 0.456, 0.406) and data.std == (0.229, 0.224, 0.225)
    assert ImageNet(imagenet, fold=0, folds=5).val_split is None


def test_batches(imagenet):
    data = loaded(imagenet)
    images, targets = next(iter(data.train_dataloader()))
    assert images.shape == (10, 3, 16, 16) and images.dtype == torch.uint8 and targets.dtype == torch.int64
    assert sum(len(y) for _, y in data.val_dataloader()) == 12
    assert sum(len(y) for _, y in data.test_dataloader()) == 40


def test_checksums_are_torchvisions():
    from torchvision.datasets.imagenet import ARCHIVE_META

    ours = {"train": module.TRAIN, "val": module.VAL, "devkit": module.DEVKIT}
    assert {kind: (name, md5.removeprefix("md5:")) for kind, (name, md5) in ours.items()} == ARCHIVE_META


def test_torchvision_reads_the_same(imagenet, monkeypatch):
    from torchvision.datasets import imagenet as theirs

    archives = {"train": module.TRAIN, "val": module.VAL, "devkit": module.DEVKIT}
    monkeypatch.setattr(theirs, "ARCHIVE_META", {k: (name, md5[4:]) for k, (name, md5) in archives.items()})
    other = imagenet.with_name("other")
    other.mkdir()
    for path in imagenet.glob("*.tar*"):
        shutil.copy(path, other)
    data = loaded(imagenet)
    for split, ours in (("train", data.train_set), ("val", data.test_set)):
        reference = theirs.ImageNet(other, split)
        assert [Path(path).relative_to(other) for path, _ in reference.samples] == [
            Path(ours.source.name(i)).relative_to(imagenet) for i in range(len(ours))
        ]
        assert ours.targets.tolist() == reference.targets
    assert tuple(reference.wnids) == data.wnids


# ---- unpacking


def test_unpacks_once(imagenet, monkeypatch):
    loaded(imagenet)
    monkeypatch.setattr(module, "unpack", None)
    assert len(loaded(imagenet).train_set) == 120


def test_folders_are_enough(unpacked):
    data = loaded(unpacked)
    assert (len(data.train_set), len(data.test_set)) == (120, 40)


def test_folders_on_a_disk_that_is_read_only(unpacked):
    locks = list(unpacked.rglob(".*.lock"))
    for path in locks:
        path.unlink()
    loaded(unpacked)
    assert not list(unpacked.rglob(".*.lock"))


def test_a_second_process_waits_for_the_first(imagenet, capsys):
    with lock(imagenet / "ILSVRC2012_img_train.tar"):
        thread = threading.Thread(target=ImageNet(imagenet, num_workers=0).prepare_data)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and "another process is at work on it" in capsys.readouterr().err
        assert not (imagenet / "train").exists()
    thread.join(10)
    assert (imagenet / "train").exists() and (imagenet / "val").exists()


def test_an_archive_that_is_not_complete(imagenet):
    path = imagenet / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="ILSVRC2012_img_train.tar is damaged or incomplete .*: fetch it again from"):
        loaded(imagenet)
    assert path.exists() and not (imagenet / "train").exists()


@pytest.mark.parametrize("kind", ["VAL", "DEVKIT"])
def test_other_archives_that_are_damaged(imagenet, kind):
    path = imagenet / getattr(module, kind)[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{path.name} is damaged or incomplete"):
        loaded(imagenet)
    assert not (imagenet / "val").exists()


def test_the_validation_archive_needs_the_devkit(imagenet):
    (imagenet / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    with pytest.raises(RuntimeError, match="the labels of ImageNet's validation images are in ILSVRC2012_devkit_t12"):
        loaded(imagenet)


@pytest.mark.parametrize(
    "ask", [lambda data: data.prepare_data(), lambda data: data.setup(), lambda data: data.classes]
)
def test_nothing_there(tmp_path, ask):
    with pytest.raises(RuntimeError) as caught:
        ask(ImageNet(tmp_path, num_workers=0))
    message = str(caught.value)
    assert message.startswith(f"ImageNet is not in {tmp_path}: log in at https://image-net.org") and "\n" not in message
    assert all(name in message for name, _ in (module.TRAIN, module.VAL, module.DEVKIT))


def test_training_images_alone(imagenet):
    (imagenet / "ILSVRC2012_img_val.tar").unlink()
    data = loaded(imagenet)
    assert len(data.train_set) == 120 and data.test_set is None


def test_validation_images_alone_can_be_tested_on(imagenet):
    (imagenet / "ILSVRC2012_img_train.tar").unlink()
    data = loaded(imagenet, "test")
    assert len(data.test_set) == 40 and data.num_classes == 4
    with pytest.raises(RuntimeError, match="ImageNet is not in"):
        data.setup("fit")


# ---- folders that somebody made


def flatten(root):
    for path in list((root / "val").rglob("*.JPEG")):
        path.rename(root / "val" / path.name)
    for wnid in WNIDS:
        (root / "val" / wnid).rmdir()


@pytest.mark.parametrize("alone", [False, True])
def test_validation_images_without_folders(imagenet, alone):
    before = loaded(imagenet).test_set
    flatten(imagenet)
    if alone:
        shutil.rmtree(imagenet / "train")
        (imagenet / "ILSVRC2012_img_train.tar").unlink()
    after = loaded(imagenet, "test").test_set
    assert [os.path.basename(after.source.name(i)) for i in range(40)] == [
        os.path.basename(before.source.name(i)) for i in range(40)
    ]
    assert after.targets.equal(before.targets)


def test_validation_images_without_folders_and_devkit(unpacked):
    flatten(unpacked)
    with pytest.raises(RuntimeError, match="the labels .* put it into .*, or sort the images into folders val/<wnid>"):
        loaded(unpacked)


def test_a_validation_image_that_is_none(imagenet):
    loaded(imagenet)
    flatten(imagenet)
    shutil.copy(imagenet / "val" / "ILSVRC2012_val_00000001.JPEG", imagenet / "val" / "ILSVRC2012_val_00000041.JPEG")
    with pytest.raises(ValueError, match="ILSVRC2012_val_00000041.JPEG is not one of the official validation images"):
        loaded(imagenet)


def exchange(folder):
    one, two, aside = (folder / name for name in (*WNIDS[:2], "aside"))
    one.rename(aside), two.rename(one), aside.rename(two)


def test_training_folders_that_were_exchanged(unpacked):
    exchange(unpacked / "train")
    with pytest.raises(ValueError, match="the labels look shuffled: 60 training images have the name of another class"):
        loaded(unpacked)


def test_validation_folders_that_were_exchanged(imagenet):
    loaded(imagenet)
    exchange(imagenet / "val")
    with pytest.raises(
        ValueError, match="the labels look shuffled: 20 images of .*val are in folders of other classes"
    ):
        loaded(imagenet)


def test_sorted_by_number_instead_of_by_wnid(imagenet):
    """The devkit's number taken for the place among the sorted wnids: each image has a label, nearly all wrong."""
    labels = validation_labels(imagenet)
    loaded(imagenet)
    flatten(imagenet)
    for name, wnid in labels.items():
        wrong = imagenet / "val" / WNIDS[IMAGENET[wnid] - 1]
        wrong.mkdir(exist_ok=True)
        (imagenet / "val" / name).rename(wrong / name)
    with pytest.raises(ValueError, match="the labels look shuffled"):
        loaded(imagenet)


def test_a_class_without_validation_images(unpacked):
    shutil.rmtree(unpacked / "val" / WNIDS[2])
    with pytest.raises(ValueError, match=f"val has no images of 1 of 4 classes: {WNIDS[2]}: unpack the official"):
        loaded(unpacked)


def test_an_empty_class(unpacked):
    for path in (unpacked / "train" / WNIDS[2]).iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=f"train has no images of 1 of 4 classes: {WNIDS[2]}: unpack the official"):
        loaded(unpacked)


def test_a_class_that_training_has_not(unpacked):
    shutil.rmtree(unpacked / "train" / WNIDS[2])
    with pytest.raises(ValueError, match=f"val has classes missing from .*train: {WNIDS[2]}: delete them"):
        loaded(unpacked)


def test_folders_of_other_names(unpacked):
    (unpacked / "train" / "dogs").mkdir()
    with pytest.raises(ValueError, match="has a folder dogs, which is not a class number .* with ImageFolder"):
        loaded(unpacked)


def test_too_few_images_of_all_classes(unpacked, monkeypatch):
    monkeypatch.setattr(module, "OFFICIAL", {"train": 121, "val": 40})
    monkeypatch.setattr(module, "CLASSES", 4)
    with pytest.warns(UserWarning, match="train has 120 images instead of ImageNet's 121"):
        loaded(unpacked)


def test_a_truncated_image_is_named(unpacked):
    path = unpacked / "train" / WNIDS[0] / f"{WNIDS[0]}_3.JPEG"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=f"{path.name} cannot be read .*: repair or delete it"):
        list(loaded(unpacked, "fit", val_split=0).train_dataloader())


@pytest.mark.skipif(not REAL.exists(), reason="needs imagenet-60.zip in ../shared/data")
def test_real_photographs(tmp_path):
    with ZipFile(REAL) as archive:
        archive.extractall(tmp_path)
    data = ImageNet(tmp_path / "imagenet-60", batch_size=30, val_split=0, num_workers=0)
    data.prepare_data()
    data.setup()
    assert data.num_classes == len(data.train_set) == len(set(data.classes)) == 60 and data.test_set is None
    assert not any(name.startswith("n0") for name in data.classes)
    images = torch.cat([images for images, _ in data.train_dataloader()])
    assert images.shape == (60, 3, 224, 224)
    mean = images.double().mean((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx(data.mean, abs=0.06)
    path, target = data.train_set.source.name(5), int(data.train_set.targets[5])
    assert Path(path).parent.name == data.wnids[target]
    assert np.array_equal(data.train_set.picture(5).permute(1, 2, 0).numpy(), np.asarray(opened(path)))


def opened(path):
    return Image.open(BytesIO(Path(path).read_bytes())).convert("RGB")
