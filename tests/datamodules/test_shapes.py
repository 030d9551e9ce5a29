"""Shapes: geometry by hand, a slow drawing of the same picture, what a picture depends on, balance."""

import math

import pytest
import torch

from datamodules import Shapes
from datamodules.frame.order import draws
from datamodules.shapes import SQUARE, TRIANGLE, is_inside, key_of, shapes


def grid(side, extent):
    x = (torch.arange(side) + 0.5) / side * 2 * extent - extent
    return torch.meshgrid(x, x, indexing="ij")


def test_all_shapes_are_of_the_circles_area():
    v, u = grid(400, 2.0)
    kinds = torch.arange(1, 4)
    areas = is_inside(kinds, u.expand(3, -1, -1), v.expand(3, -1, -1)).sum((1, 2)) * 0.01**2
    assert areas.tolist() == pytest.approx([math.pi] * 3, rel=1e-2)
    assert not is_inside(torch.tensor([0]), u[None], v[None]).any()


@pytest.mark.parametrize(
    ("kind", "within", "without"),
    [
        (1, [(0, 0.99), (0.7, 0.7)], [(0, 1.01), (0.72, 0.72)]),
        (2, [(0.88, 0.88), (-0.88, 0.88)], [(0.89, 0), (0, -0.89)]),
        (3, [(0, 1.55), (1.34, -0.77), (-1.34, -0.77)], [(0, 1.56), (0, -0.78), (0.7, 0.4), (-0.7, 0.4)]),
    ],
)
def test_corners_by_hand(kind, within, without):
    """Half the square's side is .886; the triangle's corners are 1.555 from the middle, its lower side .778."""
    assert pytest.approx(SQUARE, abs=1e-4) == 0.8862 and pytest.approx(TRIANGLE, abs=1e-4) == 1.5551
    points = torch.tensor([*within, *without])[:, :, None, None]
    found = is_inside(torch.full((len(points),), kind), points[:, 0], points[:, 1])
    assert found.flatten().tolist() == [True] * len(within) + [False] * len(without)


def slow(index, size, key):
    """One picture, shape by shape and pixel by pixel: the mask, and the colour under the noise where a shape is."""
    u = draws(torch.tensor([index]), 45, key)[0].tolist()
    mask, colour = torch.zeros(size, size, dtype=torch.int64), torch.full((size, size, 3), math.nan)
    for i in range(int(3 * u[0]) + 1):
        kind, row, column, radius, angle, *rgb = u[1 + 9 * i : 9 + 9 * i]
        kind, radius, angle = int(3 * kind) + 1, 0.12 + 0.18 * radius, math.pi / 6 * (angle - 0.5)
        for y in range(size):
            for x in range(size):
                dy, dx = ((a + 0.5) / size - 0.15 - 0.7 * b for a, b in ((y, row), (x, column)))
                along = math.cos(angle) * dx + math.sin(angle) * dy
                across = math.cos(angle) * dy - math.sin(angle) * dx
                if kind == 1:
                    hit = math.hypot(along, across) <= radius
                elif kind == 2:
                    hit = max(abs(along), abs(across)) <= SQUARE * radius
                else:  # the distance to each of three sides is at most half the radius of the corners
                    sides = (-90, 30, 150)
                    far = [along * math.cos(math.radians(s)) + across * math.sin(math.radians(s)) for s in sides]
                    hit = max(far) <= TRIANGLE * radius / 2
                if hit:
                    mask[y, x], colour[y, x] = kind, torch.tensor(rgb)
    return mask, colour, kind


def test_the_same_as_a_slow_drawing():
    key = key_of(3, "train")
    images, masks, kinds = shapes(torch.arange(6), 24, key)
    for i in range(6):
        mask, colour, front = slow(i, 24, key)
        assert torch.equal(masks[i], mask) and kinds[i] == front
        painted = mask > 0
        away = torch.from_numpy(images[i]).float() / 255 - colour
        assert away[painted].abs().max() <= 0.1 + 1 / 255  # the noise, and the rounding


def test_the_ground_is_textured_and_noisy():
    images, masks, _ = shapes(torch.arange(50), 32, key_of(0, "train"))
    images, ground = torch.from_numpy(images).float() / 255, masks == 0
    pairs = ground[:, :, 1:] & ground[:, :, :-1]
    steps = (images[:, :, 1:] - images[:, :, :-1])[pairs]
    assert steps.std() > 0.2 / 12**0.5 * 2**0.5  # more than the noise's
    spread = torch.stack([image[where].std(0) for image, where in zip(images, ground, strict=True)])
    assert 0.07 < spread.mean() < 0.15


def test_a_picture_depends_on_its_number_and_key_only():
    images, masks, kinds = shapes(torch.tensor([7, 3]), 16, 5)
    alone = shapes(torch.tensor([3]), 16, 5)
    assert (images[1] == alone[0][0]).all() and torch.equal(masks[1], alone[1][0]) and kinds[1] == alone[2][0]
    other = shapes(torch.tensor([3]), 16, 6)
    assert (other[0] != alone[0]).any() and not torch.equal(other[1], alone[1])


def ready(**options):
    data = Shapes(10, **{"images": 150, "test_images": 20, "image_size": 16, **options})
    data.setup()
    return data


def test_pictures_are_the_same_in_every_version():
    """Results are of these pictures: whoever changes them says so. Sums of the first ones, once written down."""
    data = ready(images=150)
    sums = torch.from_numpy(data.train_set.images[:4]).long().sum((1, 2, 3))
    assert (sums - torch.tensor([108009, 91504, 113145, 110535])).abs().max() < 100  # a sine's last bit may differ
    assert data.train_set.targets[:4].sum((1, 2)).tolist() == [124, 90, 69, 37]
    assert data.train_set.labels[:8].tolist() == [2, 2, 3, 1, 2, 1, 2, 2]


def test_sets_share_no_picture_and_grow(monkeypatch):
    data, more, other = ready(), ready(images=300), ready(shapes_seed=1)
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    again = ready()
    assert (data.train_set.images == more.train_set.images[:150]).all()
    assert (data.train_set.images == again.train_set.images).all()  # whatever the run's seed
    assert (data.train_set.images != other.train_set.images).any()
    assert (data.train_set.images[:20] != data.test_set.images).any((1, 2, 3)).all()


def test_classes_are_balanced_and_counted_in_pixels():
    data = ready(images=1500)
    kinds = data.train_set.labels.bincount(minlength=4)
    assert kinds[0] == 0 and kinds[1:].min() > 430
    counts = data.class_counts
    assert counts.sum() == len(data.train_indices) * 16 * 16
    assert counts[0] / counts.sum() == pytest.approx(0.76, abs=0.04)
    assert counts[1:].max() / counts[1:].min() < 1.25
    assert data.class_weights().shape == (4,)


def test_over_sampling_is_by_the_shape_in_front():
    data = ready(sampling="over")
    seen = torch.cat([data.train_set.labels[[i for _, i in pairs]] for pairs in data.train_dataloader().batch_sampler])
    counts = seen.bincount(minlength=4)[1:]
    assert counts.max() - counts.min() <= 10  # a batch is left out at most


def test_shows_masks_over_the_images():
    figure = ready().show_batch(4)
    shown, veil = figure.axes[0].get_images()
    assert shown.get_array().shape == (16, 16, 3) and veil.get_array().shape == (16, 16)
    assert ((veil.get_alpha() > 0) == (veil.get_array() > 0)).all()
    names = figure.axes[0].get_title().split(", ")
    assert {*names} <= {"circle", "square", "triangle"}


@pytest.mark.parametrize("wrong", [{"images": 0}, {"test_images": 0}, {"image_size": 7}])
def test_refusals(wrong):
    with pytest.raises(ValueError, match="images, test_images >= 1 and image_size >= 8"):
        Shapes(**wrong)
