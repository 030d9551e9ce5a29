"""Arrays: every layout and type gives the same bytes, files stay on the disk, and what is no image is refused."""

import os

import numpy as np
import pytest
import torch

from datamodules import Arrays
from datamodules.frame.memory import MemorySet

GREY = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), np.uint8)
TARGETS = np.arange(40) % 4


def ready(images, targets=TARGETS, **options):
    data = Arrays(images, targets, 10, **options)
    data.setup("fit")
    return data


def pixels(data):
    return data.train_set.without_augmentation().__getitems__(list(range(40)))[0]


@pytest.mark.parametrize(
    "images",
    [
        COLOUR,
        torch.from_numpy(COLOUR),
        torch.from_numpy(COLOUR).permute(0, 3, 1, 2),
        COLOUR.astype(np.float32) / 255,
        torch.from_numpy(COLOUR).double() / 255,
    ],
    ids=["bytes", "tensor", "planes", "floats", "doubles"],
)
def test_layouts_and_types(images):
    data = ready(images)
    assert torch.equal(pixels(data), torch.from_numpy(COLOUR).permute(0, 3, 1, 2))
    assert (data.image_size, data.channels, data.classes) == (8, 3, ("0", "1", "2", "3"))


@pytest.mark.parametrize("images", [GREY, GREY[..., None], GREY[:, None]])
def test_grey(images):
    data = ready(images)
    assert torch.equal(pixels(data), torch.from_numpy(GREY)[:, None]) and data.channels == len(data.mean) == 1
    batch = next(iter(data.train_dataloader()))
    images, _ = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(images, (batch[0] / 255 - data.mean[0]) / data.std[0])
    assert torch.equal(pixels(ready(images=GREY, channels=3))[:, 2], torch.from_numpy(GREY))


def test_files_stay_on_the_disk(tmp_path):
    np.save(tmp_path / "images.npy", COLOUR), np.save(tmp_path / "targets.npy", TARGETS)
    data = ready(tmp_path / "images.npy", str(tmp_path / "targets.npy"))
    assert isinstance(data.train_set, MemorySet)
    base = data.train_set.images
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap) or type(base).__name__ == "mmap"
    assert torch.equal(pixels(data), torch.from_numpy(COLOUR).permute(0, 3, 1, 2))


def test_a_file_that_becomes_shorter_is_an_error_and_no_crash(tmp_path):
    np.save(tmp_path / "images.npy", COLOUR)
    data = ready(tmp_path / "images.npy")
    size = (tmp_path / "images.npy").stat().st_size
    os.truncate(tmp_path / "images.npy", size - 100)  # within a page: to read it is no crash, but wrong pixels
    with pytest.raises(ValueError, match=f"was cut short while in use: {size - 100:,} bytes instead of {size:,}"):
        pixels(data)


def test_parts_and_names():
    data = Arrays(COLOUR, TARGETS, 10, val=(COLOUR[:8], TARGETS[:8]), test=(COLOUR[:6], TARGETS[:6]), classes="abcd")
    data.setup()
    assert [len(x) for x in (data.train_indices, data.val_indices, data.test_set)] == [40, 8, 6]
    assert data.classes == ("a", "b", "c", "d")
    with pytest.raises(ValueError, match="leave out val_split"):
        Arrays(COLOUR, TARGETS, val=(COLOUR, TARGETS), val_split=0.1)


def test_augmented_where_that_is_asked_for():
    torch.manual_seed(0)
    images = torch.cat([x for x, _ in ready(GREY, padding=2, flip=True, val_split=0).train_dataloader()])
    known = {x.tobytes() for x in GREY}
    assert sum(x.numpy().tobytes() in known for x in images) < 10
    moved = torch.cat([x for x, _ in ready(GREY, transform=lambda x: 255 - x, val_split=0).train_dataloader()])
    assert {(255 - x).numpy().tobytes() for x in moved} == known  # a grey image is shown to it as three colours


@pytest.mark.parametrize(
    ("images", "targets", "said"),
    [
        (np.zeros((40, 8, 9, 3), np.uint8), TARGETS, "square and of 1 or 3 channels, got .40, 8, 9, 3."),
        (np.zeros((40, 4, 8, 8), np.uint8), TARGETS, "of 1 or 3 channels"),
        (np.zeros((0, 8, 8), np.uint8), TARGETS[:0], "images must be"),
        (GREY.astype(np.float32), TARGETS, "floats in .0, 1., got float32 from 0.0 to 255"),
        (GREY.astype(np.uint16), TARGETS, "got uint16"),
        (np.full((40, 8, 8), np.nan, np.float32), TARGETS, "from nan to nan"),
        (GREY, TARGETS[:39], "40 images, and torch.int64 .39,. targets"),
        (GREY, TARGETS / 2, "targets must be integer classes"),
        (GREY, TARGETS - 1, "targets must be integer classes"),
        (GREY, np.full((40, 2), 0.5), "targets .40, 2. with several labels per image must be 0 or 1"),
    ],
)
def test_refuses(images, targets, said):
    with pytest.raises(ValueError, match=said):
        ready(images, targets)


def test_too_few_names():
    with pytest.raises(ValueError, match="targets must be in"):
        ready(GREY, classes=("a", "b"))
