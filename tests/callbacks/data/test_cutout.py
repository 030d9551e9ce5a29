"""Cutout: the hole by hand, against a loop, and the distribution of its position."""

import pytest
import torch

from callbacks import Cutout
from callbacks.data.cutout import cutout
from datamodules.frame.tensor import cutout as cutout_of_bytes


def literal(images, rows, columns, side):
    """Erase one image at a time."""
    images = images.clone()
    for image, row, column in zip(images, rows.tolist(), columns.tolist(), strict=True):
        top, left = row - side // 2, column - side // 2
        image[:, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = 0
    return images


def test_by_hand():
    hole = cutout(torch.ones(1, 1, 4, 5), torch.tensor([1]), torch.tensor([4]), 2)[0, 0]
    assert hole.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("side", [1, 2, 3, 8, 11])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_same_as_a_loop(side, layout):
    torch.manual_seed(0)
    images = torch.randn(200, 3, 8, 11).contiguous(memory_format=layout)
    before = images.clone()
    rows, columns = torch.randint(8, (200,)), torch.randint(11, (200,))
    holes = cutout(images, rows, columns, side)
    assert torch.equal(holes, literal(images, rows, columns, side))
    assert torch.equal(images, before) and holes.stride() == images.stride()


def test_same_hole_as_the_data_modules():
    rows, columns = torch.randint(6, (2, 50))
    bytes_ = cutout_of_bytes(torch.ones(50, 6, 6, 3, dtype=torch.uint8).numpy(), rows.numpy(), columns.numpy(), 3)
    ours = cutout(torch.ones(50, 3, 6, 6), rows, columns, 3)
    assert torch.equal(ours.permute(0, 2, 3, 1).byte(), torch.from_numpy(bytes_))


def trained_on(trick, shape=(2000, 1, 6, 8)):
    torch.manual_seed(0)
    batch = [torch.ones(shape), torch.arange(shape[0])]
    trick.on_train_batch_start(None, None, batch, 0)
    assert torch.equal(batch[1], torch.arange(shape[0]))
    return batch[0]


def test_centres_are_uniform_and_each_images_own():
    holes = trained_on(Cutout(1)) == 0
    assert (holes.sum((1, 2, 3)) == 1).all()
    counts, expected = holes.sum((0, 1)), 2000 / 48
    assert ((counts - expected) ** 2 / expected).sum() < 82.7  # chi-squared with 47 degrees of freedom, p = 0.001


@pytest.mark.parametrize(("side", "pixels"), [(0.5, 4), (0.25, 2), (0.01, 1), (4, 4), (1, 1), (1.0, 8)])
@pytest.mark.parametrize("size", [(8, 40), (40, 8)])
def test_a_fraction_is_of_the_shorter_side(side, pixels, size):
    largest = (trained_on(Cutout(side), (2000, 1, *size)) == 0).sum((1, 2, 3)).max()
    assert largest == pixels**2


@pytest.mark.parametrize("size", [(8, 40), (40, 8)])
def test_a_side_between_the_images_sides_erases_a_band(size):
    holes = trained_on(Cutout(20), (2000, 1, *size)) == 0
    assert holes.sum((1, 2, 3)).max() == 8 * 20
    with pytest.raises(ValueError, match=f"side=41 is larger than images of {size[0]} x {size[1]} pixels"):
        trained_on(Cutout(41), (4, 3, *size))


def test_the_papers_sides():
    assert (trained_on(Cutout(), (500, 1, 32, 32)) == 0).sum((1, 2, 3)).max() == 16**2
    assert (trained_on(Cutout(), (500, 1, 224, 224)) == 0).sum((1, 2, 3)).max() == 112**2


@pytest.mark.parametrize("side", [0, 0.0, -1, -0.5, 1.5])
def test_refuses_a_wrong_side(side):
    with pytest.raises(ValueError, match=r"side must be an int >= 1 \(pixels\) or a float in \(0, 1\]"):
        Cutout(side)


def test_refuses_a_side_larger_than_the_images():
    with pytest.raises(ValueError, match="side=16 is larger than images of 8 x 8 pixels"):
        trained_on(Cutout(16), (4, 3, 8, 8))
