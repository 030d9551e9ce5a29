"""Cutout against the authors' clipped corners, at every place of a small image."""

import pytest
import torch

from datamodules.transforms import Cutout
from datamodules.transforms.cutout import cutout


def authors(image, y, x, length):
    """Corners at half the length to both sides, clipped to the image; for an even length."""
    image, (height, width) = image.clone(), image.shape[-2:]
    for row in range(height):
        for column in range(width):
            if y - length // 2 <= row < y + length // 2 and x - length // 2 <= column < x + length // 2:
                image[:, row, column] = 0
    return image


@pytest.mark.parametrize("length", [2, 4, 8, 30])
def test_every_place_is_as_the_authors(length):
    image = torch.randint(1, 256, (3, 6, 7), dtype=torch.uint8)
    before = image.clone()
    for y in range(6):
        for x in range(7):
            assert torch.equal(cutout(image, y, x, length, (0, 0, 0)), authors(image, y, x, length))
    assert torch.equal(image, before)


def test_an_odd_side_is_that_many_pixels():
    erased = cutout(torch.zeros(3, 9, 9, dtype=torch.uint8), 4, 4, 3, (1, 2, 3))
    assert erased.flatten(1).sum(1).tolist() == [9, 18, 27] and erased[0, 3:6, 3:6].all()


def test_the_hole_reaches_over_the_border():
    erased = cutout(torch.zeros(3, 32, 32, dtype=torch.uint8), 0, 31, 16, (1, 1, 1))
    assert erased[0].sum() == 8 * 9 and erased[0, :8, 23:].all()


def test_the_centre_is_uniform_over_the_pixels():
    """The hole is -2 to +1: of 8 rows, the first is erased 3 times of 8, one inside 4 times, the last twice."""
    torch.manual_seed(0)
    hole, image = Cutout(4, (1, 1, 1)), torch.zeros(3, 8, 12, dtype=torch.uint8)
    rate = torch.stack([hole(image)[0] for _ in range(4000)]).double().mean(0)
    rows, columns = (torch.tensor([3, *[4] * (n - 3), 3, 2], dtype=torch.float64) / n for n in (8, 12))
    torch.testing.assert_close(rate, rows[:, None] * columns, atol=0.03, rtol=0)


def test_the_fill_is_the_mean_colour_unless_told():
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    assert Cutout(16)(image)[:, 0, 0].tolist() == [124, 116, 104]
    normalised = torch.tensor([124, 116, 104]) / 255 - torch.tensor([0.485, 0.456, 0.406])
    assert (normalised / torch.tensor([0.229, 0.224, 0.225])).abs().max() < 0.01


def test_refuses_no_side():
    with pytest.raises(ValueError, match="at least 1"):
        Cutout(0)
