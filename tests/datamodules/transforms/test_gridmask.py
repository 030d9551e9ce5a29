"""GridMask against the authors' way (paint stripes, turn the picture with Pillow, cut out the middle), and by hand."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.transforms import GridMask
from datamodules.transforms.gridmask import stripes


def painted(height, width, period, thickness, phases, degrees):
    """Stripes on a square as large as the diagonal, turned by Pillow, and the middle of it: bool (H, W)."""
    side = math.ceil(math.sqrt(height**2 + width**2))
    square = np.zeros((side, side), np.uint8)
    for axis, phase in enumerate(phases):
        for first in range(phase - period, side, period):
            place = [slice(None)] * 2
            place[axis] = slice(max(first, 0), max(first + thickness, 0))
            square[tuple(place)] = 1
    turned = np.asarray(Image.fromarray(square).rotate(degrees))
    top, left = (side - height) // 2, (side - width) // 2
    return torch.from_numpy(turned[top : top + height, left : left + width].astype(bool))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, 1, 30, 45, 133, 359])
@pytest.mark.parametrize("sides", [(32, 32), (63, 64), (224, 224), (60, 101)])
def test_is_the_authors_mask(sides, degrees):
    for period, thickness, phases in [(13, 8, (0, 0)), (31, 19, (30, 4)), (9, 5, (2, 7))]:
        mask = stripes(sides, period, thickness, phases, degrees)
        differs = (mask != painted(*sides, period, thickness, phases, degrees)).double().mean()
        assert differs == 0 if degrees % 90 == 0 else differs < 2e-3


def test_worked_by_hand():
    """A 4 x 4 image is in the middle of a 6 x 6 square: rows 1 to 4. Period 3, two thick, from row 1 and column 0."""
    mask = stripes((4, 4), 3, 2, (1, 0), 0)
    assert mask.int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]]
    image = torch.full((3, 4, 4), 9, dtype=torch.uint8)
    kept = GridMask(3, 4, mode=1, fill=(0, 0, 0)).transform(image, {"erased": ~mask})
    assert (kept[0] == 0).nonzero().tolist() == [[2, 1]]


@pytest.mark.parametrize("ratio", [0.4, 0.6])
def test_share_that_is_kept(ratio):
    """1 - (1 - l/d)^2 of the pixels for mode 1, on average over phases and angles; the rest for mode 0."""
    torch.manual_seed(0)
    image = torch.ones(3, 32, 32, dtype=torch.uint8)
    for mode in (0, 1):
        mask = GridMask(10, 11, ratio, mode=mode, p=1, fill=(0, 0, 0))
        kept = torch.stack([mask(image)[0] for _ in range(400)]).double().mean()
        stripes_share = 1 - (1 - math.ceil(10 * ratio) / 10) ** 2
        assert abs(kept - (stripes_share if mode else 1 - stripes_share)) < 0.01


def test_draws(monkeypatch):
    """Period, phases and angle are uniform, and the thickness is the period's fraction, rounded up."""
    seen = []

    def record(size, period, thickness, phases, degrees):
        seen.append((period, thickness, *phases, degrees))
        return torch.zeros(size, dtype=torch.bool)

    monkeypatch.setattr("datamodules.transforms.gridmask.stripes", record)
    torch.manual_seed(0)
    mask, image = GridMask(5, 8, rotate=4, p=0.8), torch.zeros(3, 8, 8, dtype=torch.uint8)
    for _ in range(2000):
        mask(image)
    assert 1530 < len(seen) < 1670
    periods, thick, y, x, degrees = zip(*seen, strict=True)
    assert set(periods) == {5, 6, 7} and set(degrees) == {0, 1, 2, 3}
    assert {*zip(periods, thick, strict=True)} == {(5, 3), (6, 4), (7, 5)}
    for axis in (y, x):
        assert {(d, p) for d, p in zip(periods, axis, strict=True)} == {(d, p) for d in (5, 6, 7) for p in range(d)}
    assert sum(a == b for a, b in zip(y, x, strict=True)) < 500  # two draws, not one


def test_fill_and_probability():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    assert GridMask(8, 9, p=0)(image) is image
    colours = GridMask(8, 9, p=1)(image).flatten(1).T.unique(dim=0).tolist()
    assert colours == [[0, 0, 0], [124, 116, 104]]


@pytest.mark.parametrize("wrong", [{"d1": 0}, {"d1": 9, "d2": 9}, {"ratio": 1.0}, {"rotate": 0}, {"mode": 2}, {"p": 2}])
def test_refuses(wrong):
    with pytest.raises(ValueError, match="GridMask needs"):
        GridMask(**wrong)
