"""Arrays: every layout and type gives the same bytes, files stay on the disk, and what is no image is refused."""

import math
import os
import tracemalloc

import numpy as np
import pytest
import torch

from datamodules import Arrays
from datamodules.arrays import as_bytes
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
        (torch.from_numpy(COLOUR).double() / 255).requires_grad_(),
    ],
    ids=["bytes", "tensor", "planes", "floats", "doubles", "with gradients"],
)
def test_layouts_and_types(images):
    data = ready(images)
    assert torch.equal(pixels(data), torch.from_numpy(COLOUR).permute(0, 3, 1, 2))
    assert (data.image_size, data.channels, data.classes) == (8, 3, ("0", "1", "2", "3"))


def test_floats_become_bytes_a_few_images_at_a_time():
    images = np.linspace(0, 1, 256, dtype=np.float32).repeat(100 * 256 * 3).reshape(100, 256, 256, 3)
    tracemalloc.start()
    found = as_bytes(images, "train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * found.nbytes
    assert (found.reshape(256, -1) == np.arange(256)[:, None]).all()


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
        (np.zeros((40, 8, 9, 3), np.uint8), TARGETS, "square and of 1 to 16 channels, got .40, 8, 9, 3."),
        (np.zeros((40, 8, 8, 17), np.uint8), TARGETS, "of 1 to 16 channels"),
        (np.zeros((0, 8, 8), np.uint8), TARGETS[:0], "images must be"),
        (GREY.astype(np.float32), TARGETS, "floats in .0, 1., got float32 from 0.0 to 255"),
        (GREY.astype(np.uint16), TARGETS, "got uint16 from 0 to 255: give scale=, such as 65535"),
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


# ---- other numbers and channels

BANDS = np.random.default_rng(2).integers(0, 9000, (40, 8, 8, 13), np.uint16)


@pytest.mark.parametrize("images", [BANDS, BANDS.astype(">u2"), BANDS.astype(np.int32), BANDS.transpose(0, 3, 1, 2)])
def test_numbers_keep_their_precision(images):
    data = ready(images, scale=10000)
    wanted = torch.from_numpy(BANDS.astype(np.float64) / 10000).permute(0, 3, 1, 2)
    torch.testing.assert_close(pixels(data).double(), wanted, atol=1e-7, rtol=0)
    assert data.mean == pytest.approx(wanted.mean((0, 2, 3)).tolist(), abs=1e-9) and data.channels == 13
    assert data.std == pytest.approx(wanted.std((0, 2, 3), correction=0).tolist(), abs=1e-9)
    batch = next(iter(data.val_dataloader()))
    arrived, _ = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(arrived[:, 7], (batch[0][:, 7] - data.mean[7]) / data.std[7])


def test_bytes_of_four_channels_are_measured_one_by_one():
    images = np.concatenate([COLOUR, np.full((40, 8, 8, 1), 51, np.uint8)], 3)
    data = ready(images)
    assert torch.equal(pixels(data), torch.from_numpy(images).permute(0, 3, 1, 2))
    assert (data.mean[3], data.std[3]) == (pytest.approx(0.2), 1)


def test_numbers_are_cropped_and_mirrored_as_a_whole():
    data = ready(BANDS, scale=1, padding=2, flip=True, val_split=0)
    images, targets = next(iter(data.train_dataloader()))
    known = {*BANDS.astype(np.float32).ravel().tolist(), 0.0}
    assert set(images.unique().tolist()) <= known  # no byte is torn from its number
    plain = ready(BANDS, scale=1, flip=True, val_split=0)
    moved = torch.cat([x for x, _ in plain.train_dataloader()]).permute(0, 2, 3, 1).numpy()
    either = (
        {x.tobytes() for x in BANDS.astype(np.float32)},
        {x.tobytes() for x in BANDS[:, :, ::-1].astype(np.float32)},
    )
    straight, mirrored = (sum(x.tobytes() in found for x in moved) for found in either)
    assert straight + mirrored == len(moved) == 40 and min(straight, mirrored) > 8


@pytest.mark.parametrize("images", [BANDS, BANDS.astype(np.int16), BANDS.astype(np.float64) / 3])
def test_numbers_on_the_device_are_those_in_memory(images):
    images = ready(images, scale=(*range(1, 13), 10000), padding=2, flip=True, cutout=3).train_set
    there = images.on_device(torch.device("cpu"), math.inf, {})
    keys, index = torch.arange(20) % 3, torch.arange(20)
    here = images.__getitems__(list(zip(keys.tolist(), index.tolist(), strict=True)))
    assert all(torch.equal(a, b) for a, b in zip(there.batch(keys, index), here, strict=True))


def test_numbers_stay_on_the_disk(tmp_path):
    np.save(tmp_path / "images.npy", BANDS)
    base = ready(tmp_path / "images.npy", scale=1).train_set.images
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap) or type(base).__name__ == "mmap"


def test_numbers_are_shown():
    assert len(ready(BANDS, scale=9000).show_batch(4).axes) == 4


@pytest.mark.parametrize(
    ("images", "options", "said"),
    [
        (np.where(BANDS > 8990, np.nan, BANDS), {"scale": 1}, "must be finite numbers"),
        (BANDS, {"scale": (1, 2)}, "13 of them, one per channel"),
        (BANDS, {"scale": 1, "transform": lambda x: x}, "leave them out, or leave out scale"),
        (BANDS.astype(np.uint8), {"channels": 3}, "13 channels, not the 3 of channels="),
        (BANDS, {"scale": 1, "test": (COLOUR, TARGETS)}, "must have the same channels"),
    ],
)
def test_refuses_numbers(images, options, said):
    with pytest.raises(ValueError, match=said):
        ready(images, **options)
