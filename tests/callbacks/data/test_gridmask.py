"""GridMask: the grid by hand and against the authors' rotated mask, and the schedule of its probability."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks import GridMask, Linear
from callbacks.data.gridmask import stripes
from tests.callbacks.conftest import SeenBatches


def one(period, thickness, phases, degrees, size):
    """Return the stripes of one image: bool (H, W)."""
    up, left = ([p] for p in phases)
    tensors = (torch.tensor(t) for t in ([period], [thickness], [up, left], [degrees]))
    return stripes(*tensors, size)[0, 0]


def drawn_and_turned(period, thickness, phases, degrees, size):
    """Make the mask as the authors: zeros on a square of ones, rotated by Pillow, cropped at the centre."""
    side = math.ceil(math.hypot(*size))
    mask = np.ones((side, side), np.uint8)
    for i in range(-1, side // period + 1):
        for axis, phase in enumerate(phases):
            start, stop = (min(max(edge, 0), side) for edge in (i * period + phase, i * period + phase + thickness))
            mask[(slice(start, stop), slice(None))[:: 1 - 2 * axis]] = 0
    turned = np.asarray(Image.fromarray(mask).rotate(degrees))
    top, left = ((side - n) // 2 for n in size)
    return torch.from_numpy(turned[top : top + size[0], left : left + size[1]] == 0)


def test_by_hand():
    # 3 x 3 px in a square of ceil(4.24) = 5: from row and column 1 of the square on
    assert one(3, 1, (0, 2), 0, (3, 3)).int().tolist() == [[0, 1, 0], [0, 1, 0], [1, 1, 1]]
    assert one(3, 2, (1, 1), 0, (3, 3)).int().tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize("size", [(32, 32), (31, 31), (20, 33)])
def test_same_as_the_authors(size):
    rng, differing = np.random.default_rng(0), []
    for degrees in [0, 90, 180, 270, *rng.integers(0, 360, 40).tolist()]:
        period = int(rng.integers(3, 20))
        phases = tuple(rng.integers(0, period, 2).tolist())
        given = (period, math.ceil(0.6 * period), phases, degrees, size)
        ours, theirs = one(*given), drawn_and_turned(*given)
        differing.append((ours != theirs).float().mean().item())
    assert differing[:4] == [0] * 4
    assert max(differing) < 0.01 and np.mean(differing) < 0.002


def test_each_image_has_a_grid_of_its_own():
    period, thickness = torch.tensor([4, 7, 5]), torch.tensor([2, 5, 1])
    phases, degrees = torch.tensor([[0, 3, 2], [1, 6, 4]]), torch.tensor([0, 33, 200])
    together = stripes(period, thickness, phases, degrees, (16, 12))
    for i in range(3):
        alone = one(period[i].item(), thickness[i].item(), phases[:, i].tolist(), degrees[i].item(), (16, 12))
        assert torch.equal(together[i, 0], alone)


def mask(trick, shape=(500, 1, 56, 56), layout=torch.contiguous_format):
    torch.manual_seed(0)
    images = torch.ones(shape).contiguous(memory_format=layout)
    batch = [images, torch.arange(shape[0])]
    trick.on_train_batch_start(None, None, batch, 0)
    assert torch.equal(images, torch.ones(shape)) and torch.equal(batch[1], torch.arange(shape[0]))
    assert batch[0].stride() == images.stride()
    return batch[0]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_share_erased(layout):
    kept = mask(GridMask(p=1.0), (500, 3, 56, 56), layout)
    assert set(kept.unique().tolist()) == {0, 1}
    periods = torch.arange(24, 56)  # 3/7 of 56 px, and less than 56
    expected = ((periods - (0.6 * periods).ceil()) / periods).square().mean()
    assert 1 - kept.mean() == pytest.approx(expected.item(), abs=0.006)
    opposite = mask(GridMask(p=1.0, mode=0), (500, 3, 56, 56), layout)
    assert torch.equal(opposite, 1 - kept)


def test_periods_and_phases_are_uniform():
    kept = mask(GridMask(4, 8, ratio=0.25, rotate=1, p=1.0), (4000, 1, 40, 40))[:, 0]
    stripe = kept.all(2)  # (N, 40) whole rows; of thickness 1 for period 4, 2 for 5, 6 and 7
    thickness_one = ~(stripe & stripe.roll(1, 1))[:, 1:].any(1)
    assert thickness_one.float().mean() == pytest.approx(0.25, abs=0.03)
    assert stripe[thickness_one][:, :4].float().mean(0) == pytest.approx([0.25] * 4, abs=0.06)
    assert not torch.equal(stripe, kept.all(1))  # the two phases differ


def test_p_is_the_share_of_images():
    kept = mask(GridMask(p=0.3), (3000, 1, 16, 16))
    assert (kept == 0).any(3).any(2).float().mean() == pytest.approx(0.3, abs=0.03)


def test_the_ramp_of_p(tiny_model, tiny_data, trainer):
    assert GridMask().p == Linear(0, 0.8, until="0.8dur")
    rates, seen = [], SeenBatches()
    trick = GridMask()
    seen.on_train_batch_start = lambda run, *_: rates.append(trick.p.now(run))
    trainer(callbacks=[seen, trick], max_epochs=5).fit(tiny_model, tiny_data)
    assert rates == pytest.approx([min(0.8, 0.8 * step / 12) for step in range(15)])
    before = [images for images, _ in tiny_data] * 5
    assert torch.equal(seen.train[0][0], before[0])  # p = 0
    changed = [not torch.equal(x, y) for (x, _), y in zip(seen.train, before, strict=True)]
    assert sum(changed[8:]) > 4


@pytest.mark.parametrize(
    "arguments",
    [
        {"p": 0},
        {"p": 1.5},
        {"ratio": 0.0},
        {"ratio": 1.1},
        {"d1": 5, "d2": 5},
        {"d1": 0, "d2": 5},
        {"d1": 5},
        {"rotate": 0},
        {"mode": 2},
    ],
)
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="GridMask: .* must"):
        GridMask(**arguments)


def test_refuses_images_too_small_for_its_periods():
    with pytest.raises(ValueError, match="no period between d1=0.1 and d2=0.15 in images of 4 x 4 pixels"):
        mask(GridMask(0.1, 0.15, p=1.0), (2, 1, 4, 4))
