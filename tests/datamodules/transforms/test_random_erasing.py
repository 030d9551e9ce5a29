"""Random Erasing on bytes, against torchvision's on the normalised image."""

import pytest
import torch
from torchvision.transforms import v2

from datamodules.transforms import RandomErasing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalised(image):
    return v2.functional.normalize(v2.functional.to_dtype(image, torch.float32, scale=True), MEAN, STD)


def test_noise_is_torchvisions_after_normalisation(photo, seeded):
    image = photo[:, :64, :64]
    lowest, highest = normalised(torch.zeros_like(image)), normalised(torch.full_like(image, 255))
    erased = 0
    for seed in range(20):
        ours = seeded(seed, RandomErasing(), image)
        expected = seeded(seed, v2.RandomErasing(value="random"), normalised(image)).clamp(lowest, highest)
        assert ours.dtype == torch.uint8
        assert (normalised(ours) - expected).abs().max() <= 0.5 / 255 / 0.224 + 1e-3  # half a byte
        erased += not torch.equal(ours, image)
    assert 5 <= erased <= 15


@pytest.mark.parametrize("value", [0, 7.0, (1, 2, 3)])
def test_a_colour_is_torchvisions(value, photo, seeded):
    for seed in range(5):
        ours, theirs = RandomErasing(1.0, value=value), v2.RandomErasing(1.0, value=value)
        assert torch.equal(seeded(seed, ours, photo), seeded(seed, theirs, photo))


def test_statistics_of_the_noise():
    torch.manual_seed(0)
    noise = RandomErasing(1.0, scale=(0.5, 0.5), ratio=(1, 1))
    black = torch.zeros(3, 100, 100, dtype=torch.uint8)
    pixels = torch.cat([noise(black).flatten(1).T for _ in range(5)]).double()
    pixels = pixels[pixels.sum(1) > 0]  # erased ones: half of them
    assert 24000 < len(pixels) < 26500
    torch.testing.assert_close(pixels.mean(0) / 255, torch.tensor(MEAN).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(pixels.std(0) / 255, torch.tensor(STD).double(), atol=0.015, rtol=0)


def test_original_is_not_changed(photo):
    before = photo.clone()
    RandomErasing(1.0)(photo)
    assert torch.equal(photo, before)
    assert "value=random" in repr(RandomErasing())
