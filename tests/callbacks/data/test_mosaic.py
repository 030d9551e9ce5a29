"""Mosaic: by hand, against a loop over images, labels by area, and the draws."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from callbacks import Mosaic, Steps
from callbacks.data import mosaic as module
from callbacks.data.mosaic import mosaic


def literal(images, targets, rows, columns, perms):
    """Make the mosaics one image and one quarter at a time."""
    mixed, labels = images.clone(), torch.zeros_like(targets)
    height, width = images.shape[-2:]
    for i, (r, c) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        one, two, three = (int(perm[i]) for perm in perms)
        mixed[i, :, :r, c:] = images[one, :, :r, c:]
        mixed[i, :, r:, :c] = images[two, :, r:, :c]
        mixed[i, :, r:, c:] = images[three, :, r:, c:]
        areas = {i: r * c}, {one: r * (width - c)}, {two: (height - r) * c}, {three: (height - r) * (width - c)}
        for part in areas:
            for source, area in part.items():
                labels[i] += area / (height * width) * targets[source]
    return mixed, labels


def test_by_hand():
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 2, 4)
    perms = [torch.tensor([k]).repeat(4) for k in (1, 2, 3)]
    x, y = mosaic(images, torch.eye(4), torch.tensor([1] * 4), torch.tensor([3] * 4), perms)
    assert x[0, 0].tolist() == [[0, 0, 0, 1], [2, 2, 2, 3]]
    assert y[0].tolist() == [3 / 8, 1 / 8, 3 / 8, 1 / 8]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_same_as_a_loop(layout):
    torch.manual_seed(0)
    images = torch.randn(50, 3, 7, 10).contiguous(memory_format=layout)
    before, targets = images.clone(), F.one_hot(torch.randint(10, (50,))).float()
    rows, columns = torch.randint(8, (50,)), torch.randint(11, (50,))  # up to the border
    perms = [torch.randperm(50) for _ in range(3)]
    x, y = mosaic(images, targets, rows, columns, perms)
    expected = literal(images, targets, rows, columns, perms)
    assert torch.equal(x, expected[0]) and x.stride() == images.stride()
    torch.testing.assert_close(y, expected[1])
    torch.testing.assert_close(y.sum(1), torch.ones(50))
    assert torch.equal(images, before)


def test_label_share_is_the_share_of_pixels():
    torch.manual_seed(0)
    batch = [torch.arange(6.0)[:, None, None, None].expand(6, 1, 20, 30), torch.arange(6)]
    Mosaic(p=1.0).on_train_batch_start(None, SimpleNamespace(num_classes=6), batch, 0)
    pixels = torch.stack([(batch[0] == k).float().mean((1, 2, 3)) for k in range(6)], dim=1)
    torch.testing.assert_close(batch[1], pixels)


@pytest.fixture
def draw(monkeypatch):
    """Return `draw(n, trick)`, which gives the points of n batches of 4 images of 20 x 40 px."""

    def run(n, trick):
        torch.manual_seed(0)
        calls = []
        monkeypatch.setattr(module, "mosaic", lambda *a: calls.append(a[2:]) or [a[0], a[1]])
        for _ in range(n):
            batch = [torch.zeros(4, 1, 20, 40), torch.arange(4)]
            trick.on_train_batch_start(None, SimpleNamespace(num_classes=4), batch, 0)
        return calls

    return run


@pytest.mark.parametrize(("margin", "rows", "columns"), [(0.2, (4, 16), (8, 32)), (0.0, (0, 20), (0, 40))])
def test_points_are_uniform_inside_the_margin(draw, margin, rows, columns):
    calls = draw(1000, Mosaic(margin, p=1.0))
    for axis, (low, high) in enumerate((rows, columns)):
        points = torch.cat([call[axis] for call in calls])
        assert points.min() == low and points.max() == high
        inner = points.bincount()[low + 1 : high]  # the two ends have half the probability
        expected = 4000 / (high - low)
        assert (inner - expected).abs().max() < 4.5 * expected**0.5
    assert len({tuple(call[0].tolist()) for call in calls}) > 900  # each image has its own


def test_p_is_the_share_of_batches(draw):
    assert len(draw(2000, Mosaic())) / 2000 == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("arguments", [{"margin": 0.5}, {"margin": -0.1}, {"p": 0}, {"p": 2}, {"p": Steps(0, {1: 2})}])
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="Mosaic: .* must be in"):
        Mosaic(**arguments)
