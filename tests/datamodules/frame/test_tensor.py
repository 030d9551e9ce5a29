"""Crop, flip and hole: by hand, against slow literal forms bit for bit, and in their limits."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import normalize, to_dtype

from datamodules.frame.memory import Augment
from datamodules.frame.order import epoch_key
from datamodules.frame.tensor import ReflectedStore, Store, crop, cutout, normalise


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(1, 256, (7, 6, 6, 3), np.uint8)  # no zeros: padding is told from image


def draw_all(rng, count, images, padding):
    """`count` random arguments of crop."""
    top, left = rng.integers(0, 2 * padding + 1, (2, count))
    return rng.integers(0, len(images), count), top, left, rng.random(count) < 0.5


def literal_crop(images, padding, index, top, left, flip, mode="constant"):
    """Pad, slice, turn: one image at a time."""
    side = images.shape[1]
    out = []
    for i, y, x, turn in zip(index, top, left, flip, strict=True):
        padded = np.pad(images[i], ((padding, padding), (padding, padding), (0, 0)), mode=mode)
        piece = padded[y : y + side, x : x + side]
        out.append(piece[:, ::-1] if turn else piece)
    return np.stack(out)


def literal_cutout(images, ys, xs, side):
    images = images.copy()
    for image, y, x in zip(images, ys, xs, strict=True):
        top, left = y - side // 2, x - side // 2
        image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = 0
    return images


@pytest.mark.parametrize("padding", [0, 1, 2, 5])
def test_crop_is_pad_and_slice_and_turn(images, padding):
    args = draw_all(np.random.default_rng(1), 500, images, padding)
    expected = literal_crop(images, padding, *args)
    assert np.array_equal(crop(Store(images, padding, mirrored=True), *args), expected)


@pytest.mark.parametrize("padding", [0, 2])
def test_a_reflected_border_is_numpys(images, padding):
    args = draw_all(np.random.default_rng(1), 50, images, padding)
    store = ReflectedStore(images, padding)
    assert np.array_equal(crop(store, *args), literal_crop(images, padding, *args, mode="reflect"))
    assert np.array_equal(store.images, images)


def test_crop_is_torchvisions_crop_of_the_padded_image(images):
    from torchvision.transforms.v2.functional import crop as theirs
    from torchvision.transforms.v2.functional import pad

    index, top, left, _ = draw_all(np.random.default_rng(1), 50, images, 3)
    ours = crop(Store(images, 3), index, top, left, np.zeros(50, bool))
    for image, i, y, x in zip(ours, index, top, left, strict=True):
        whole = torch.from_numpy(images[i]).permute(2, 0, 1)
        assert torch.equal(torch.from_numpy(image).permute(2, 0, 1), theirs(pad(whole, 3), y, x, 6, 6))


def test_crop_by_hand():
    image = np.arange(1, 5, dtype=np.uint8).reshape(1, 2, 2, 1).repeat(3, axis=3)  # 1 2 / 3 4
    store = Store(image, padding=1, mirrored=True)

    def one(top, left, flip):
        return crop(store, *map(np.array, ([0], [top], [left], [flip])))[0, :, :, 0].tolist()

    assert one(1, 1, False) == [[1, 2], [3, 4]]
    assert one(1, 1, True) == [[2, 1], [4, 3]]
    assert one(0, 0, False) == [[0, 0], [0, 1]]
    assert one(0, 0, True) == [[0, 0], [1, 0]]
    assert one(2, 1, False) == [[3, 4], [0, 0]]


def test_the_middle_crop_is_the_image(images):
    middle = np.full(7, 2)
    assert np.array_equal(crop(Store(images, 2), np.arange(7), middle, middle, np.zeros(7, bool)), images)


def test_crop_leaves_the_store_alone(images):
    store = Store(images, 2, mirrored=True)
    crop(store, *draw_all(np.random.default_rng(1), 50, images, 2))[:] = 7
    assert np.array_equal(store.images, images)


@pytest.mark.parametrize("padding", [-1, 6])
def test_padding_must_be_smaller_than_the_image(images, padding):
    with pytest.raises(ValueError, match=r"padding must be in \[0, 6\) pixels for images of side 6"):
        Store(images, padding)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 20])
def test_cutout_is_a_slice_set_to_zero(images, side):
    rng = np.random.default_rng(1)
    for _ in range(20):
        y, x = rng.integers(0, 6, (2, 7))
        assert np.array_equal(cutout(images.copy(), y, x, side), literal_cutout(images, y, x, side))


def test_cutout_by_hand():
    hole = cutout(np.ones((1, 4, 4, 3), np.uint8), np.array([1]), np.array([3]), 2)[0, :, :, 0]
    assert hole.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_no_augmentation_is_the_identity(images):
    augment = Augment(images, padding=0, flip=False, cutout=None)
    assert np.array_equal(augment(torch.arange(7), key=5), images)


def codes(augment, count, epochs=400):
    """The first colour of `count` images, augmented in many epochs: (epochs * count, S, S)."""
    return np.concatenate([augment(torch.arange(count), epoch_key(0, epoch))[..., 0] for epoch in range(epochs)])


def test_crops_are_uniform_over_all_shifts():
    side, padding = 5, 2
    positions = np.arange(1, 26, dtype=np.uint8).reshape(1, side, side, 1).repeat(3, axis=3).repeat(50, axis=0)
    middle = codes(Augment(positions, padding, False, None), 50)[:, 2, 2]  # the pixel that came to the middle
    counts = np.bincount(middle, minlength=26)[1:]  # every one of the 25 pixels, and no padding
    expected = 50 * 400 / 25
    assert counts.sum() == 50 * 400
    assert ((counts - expected) ** 2 / expected).sum() < 51.2  # chi-squared with 24 degrees of freedom, p = 0.001


def test_half_are_flipped_whatever_the_crop():
    ramp = np.arange(1, 9, dtype=np.uint8).reshape(1, 1, 8, 1).repeat(8, axis=1).repeat(3, axis=3).repeat(50, axis=0)
    out = codes(Augment(ramp, 1, True, None), 50).astype(int)
    flipped = out[:, 4, 3] > out[:, 4, 4]
    assert flipped.mean() == pytest.approx(0.5, abs=4 * 0.5 / 20000**0.5)
    shift = np.where(flipped, out[:, 4, 4] - 4, out[:, 4, 4] - 5)
    for value in (-1, 0, 1):  # independent: half of each shift too
        assert flipped[shift == value].mean() == pytest.approx(0.5, abs=0.03)


def test_holes_are_centred_uniformly_over_the_image():
    out = codes(Augment(np.ones((50, 6, 6, 3), np.uint8), 0, False, 1), 50)
    assert (out == 0).sum((1, 2)).tolist() == [1] * len(out)  # a hole of one pixel is never cut off
    counts, expected = (out == 0).sum(0), len(out) / 36
    assert ((counts - expected) ** 2 / expected).sum() < 66.6  # chi-squared with 35 degrees of freedom, p = 0.001


def test_holes_know_nothing_of_the_crop():
    out = codes(Augment(np.ones((50, 6, 6, 3), np.uint8), 1, False, 1), 50) == 0
    unmoved = out[~out.all(1).any(1) & ~out.all(2).any(1)]  # no black band at an edge
    assert len(unmoved) == pytest.approx(20000 / 9, rel=0.1)
    counts, expected = unmoved.sum(0), len(unmoved) / 36
    assert ((counts - expected) ** 2 / expected).sum() < 66.6  # chi-squared with 35 degrees of freedom, p = 0.001


def test_an_option_does_not_change_the_draws_of_another(images):
    index = torch.arange(7)
    crops = Augment(images, 2, False, None)(index, key=3)
    holes = Augment(images, 2, False, 3)(index, key=3)
    assert np.array_equal(crops[holes > 0], holes[holes > 0])
    assert (holes == 0).sum() > (crops == 0).sum()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_normalise_is_torchvisions(layout):
    images = torch.randint(0, 256, (4, 3, 5, 7), dtype=torch.uint8).contiguous(memory_format=layout)
    before, mean, std = images.clone(), (0.2, 0.4, 0.6), (0.1, 0.3, 0.5)
    ours = normalise(images, mean, std)
    assert ours.dtype == torch.float32 and ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, normalize(to_dtype(images, torch.float32, scale=True), mean, std))
    assert torch.equal(images, before)


def test_normalise_by_hand():
    image = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert normalise(image, (0.5, 0.2, 0.0), (0.5, 0.1, 2.0)).flatten().tolist() == pytest.approx(
        [-1, 0, 0.5], abs=1e-6
    )
