"""Random Erasing: against timm and the authors' algorithm draw by draw, and the statistics of area, ratio and noise."""

import math

import pytest
import timm.data.random_erasing
import torch
from torchvision.transforms import v2

from callbacks import RandomErasing, Steps
from callbacks.data.random_erasing import TRIES, aspect_ratio, first_fit, random_erasing
from tests.callbacks.conftest import SeenBatches


def erase(trick, shape, layout=torch.contiguous_format):
    """Erase images of ones with seed 0."""
    torch.manual_seed(0)
    batch = [torch.ones(shape).contiguous(memory_format=layout), torch.arange(shape[0])]
    trick.on_train_batch_start(None, None, batch, 0)
    return batch[0]


def draws(count):
    """Draw as `erase` does, in the same order, image by image: probability, areas, ratios, position."""
    torch.manual_seed(0)
    chance, (area, ratio), place = torch.rand(count), torch.rand(2, count, TRIES), torch.rand(2, count)
    return zip(chance.tolist(), area.tolist(), ratio.tolist(), place.T.tolist(), strict=True)


class Given:
    """A stand-in for Python's `random` with given draws."""

    def __init__(self, chance, area, ratio, place):
        self.chance, self.place = chance, iter(place)
        self.uniforms = iter([u for pair in zip(area, ratio, strict=True) for u in pair])

    def random(self):
        return self.chance

    def uniform(self, low, high):
        return low + (high - low) * next(self.uniforms)

    def randint(self, low, high):
        return low + int(next(self.place) * (high - low + 1))


@pytest.mark.parametrize("shape", [(400, 3, 32, 32), (400, 1, 16, 40), (400, 2, 8, 8)])
def test_same_rectangles_as_timm(shape, monkeypatch):
    ours = erase(RandomErasing(0.6, (0.02, 1 / 3), fill="mean", formulation="timm"), shape)
    theirs = timm.data.random_erasing.RandomErasing(0.6, mode="const", device="cpu")
    for image, given in zip(ours, draws(shape[0]), strict=True):
        monkeypatch.setattr(timm.data.random_erasing, "random", Given(*given))
        assert torch.equal(image, theirs(torch.ones(shape[1:])))


@pytest.mark.parametrize("shape", [(400, 3, 32, 32), (400, 1, 16, 40)])
def test_same_rectangles_as_the_papers_algorithm(shape):
    height, width = shape[-2:]
    ours = erase(RandomErasing(fill="mean"), shape)
    for image, given in zip(ours, draws(shape[0]), strict=True):
        random, expected = Given(*given), torch.ones(shape[1:])
        for _ in range(TRIES if random.random() < 0.5 else 0):
            area = random.uniform(0.02, 0.4) * height * width
            ratio = random.uniform(0.3, 1 / 0.3)
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h < height and w < width:
                y, x = random.randint(0, height - h), random.randint(0, width - w)
                expected[:, y : y + h, x : x + w] = 0
                break
        assert torch.equal(image, expected)


def test_by_hand():
    images, noise = torch.ones(2, 1, 3, 4), torch.full((2, 1, 3, 4), 5.0)
    rectangle = (torch.tensor(v) for v in ([1, 0], [2, 0], [2, 0], [1, 3]))  # top, left, height, width
    erased = random_erasing(images, *rectangle, noise)
    assert erased[0, 0].tolist() == [[1, 1, 1, 1], [1, 1, 5, 1], [1, 1, 5, 1]]
    assert torch.equal(erased[1], images[1])
    assert torch.equal(images, torch.ones(2, 1, 3, 4))


def test_the_first_try_that_fits():
    area, ratio = torch.tensor([[64.0, 16.0, 4.0], [64.0, 64.0, 100.0]]), torch.ones(2, 3)
    height, width = first_fit(area, ratio, (8, 20))  # a side of 8 is as large as the image: not smaller
    assert height.tolist() == width.tolist() == [4, 0]


def sizes(erased):
    """Return heights and widths of the erased rectangles."""
    hole = (erased == 0)[:, 0]
    height, width = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(height * width, hole.sum((1, 2)))
    return height[height > 0], width[height > 0]


def test_statistics_of_the_paper():
    height, width = sizes(erase(RandomErasing(fill="mean"), (4000, 1, 100, 100)))
    assert len(height) / 4000 == pytest.approx(0.5, abs=0.03)
    area, ratio = height * width / 1e4, height / width
    assert 0.018 < area.min() < 0.03 and 0.35 < area.max() < 0.41
    assert 0.28 < ratio.min() < 0.33 and 3 < ratio.max() < 3.5
    small = area < 0.25  # where redraws are rare
    assert area[small].mean() == pytest.approx(0.135, abs=0.006)
    assert ratio[small].mean() == pytest.approx((0.3 + 1 / 0.3) / 2, abs=0.1)


def test_same_areas_and_ratios_as_torchvision():
    trick = RandomErasing(1.0, (0.02, 0.33), fill="mean", formulation="timm")
    height, width = sizes(erase(trick, (3000, 1, 64, 64)))
    theirs = v2.RandomErasing(1.0, (0.02, 0.33), (0.3, 1 / 0.3))
    params = [theirs.make_params([torch.zeros(1, 64, 64)]) for _ in range(3000)]
    h, w = (torch.tensor([p[name] for p in params]) for name in ("h", "w"))
    for ours, other in ((height * width, h * w), ((height / width).log(), (h / w).log())):
        ours, other = ours.float(), other.float()
        assert ours.mean() == pytest.approx(other.mean().item(), abs=4.5 * other.std().item() * (2 / 3000) ** 0.5)
        assert ours.std() == pytest.approx(other.std().item(), rel=0.06)


def test_formulations_of_the_ratio():
    u = torch.tensor([0.0, 0.5, 1.0])
    assert aspect_ratio(u, 0.25, "paper").tolist() == pytest.approx([0.25, 2.125, 4])
    assert aspect_ratio(u, 0.25, "timm").tolist() == pytest.approx([0.25, 1, 4])


def test_place_is_uniform():
    hole = erase(RandomErasing(1.0, (0.04, 0.04), 1.0, "mean"), (4000, 1, 10, 10))[:, 0] == 0  # 2 px, 81 positions
    top, left = hole.any(2).int().argmax(1), hole.any(1).int().argmax(1)
    counts, expected = (9 * top + left).bincount(minlength=81), 4000 / 81
    assert ((counts - expected) ** 2 / expected).sum() < 124.8  # chi-squared with 80 degrees of freedom, p = 0.001


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_noise_is_normal_and_only_in_the_rectangle(layout):
    erased = erase(RandomErasing(1.0), (300, 3, 32, 32), layout)
    hole = erase(RandomErasing(1.0, fill="mean"), (300, 3, 32, 32)) == 0  # the same draws before the noise
    assert (erased[~hole] == 1).all()
    noise = erased[hole]
    assert noise.mean() == pytest.approx(0, abs=0.01) and noise.std() == pytest.approx(1, abs=0.01)
    assert noise.unique().numel() > 0.9 * noise.numel()
    assert erased.is_contiguous(memory_format=layout)


def test_follows_a_schedule_of_p(tiny_model, tiny_data, trainer):
    seen = SeenBatches()
    trainer(callbacks=[RandomErasing(Steps(0, {"1ep": 1.0})), seen]).fit(tiny_model, tiny_data)
    changed = [not torch.equal(i, j) for (i, _), (j, _) in zip(seen.train, [*tiny_data] * 2, strict=True)]
    assert changed == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"p": 0},
        {"p": 1.1},
        {"r1": 0},
        {"r1": 3.3},
        {"scale": (0.4, 0.02)},
        {"scale": (0.0, 0.0)},
        {"scale": (0.1, 1.1)},
        {"fill": "pixel"},
        {"formulation": "authors"},
    ],
)
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="RandomErasing: .* must be|RandomErasing has no"):
        RandomErasing(**arguments)
