"""Against torchvision on tensors and on Pillow images, with the same draws."""

import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from datamodules.transforms import RandomResizedCrop


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_is_torchvisions_within_a_level_of_pillow(size, mode, photo, pillow, seeded):
    ours = RandomResizedCrop(size, interpolation=mode)
    theirs = v2.RandomResizedCrop(size, interpolation=InterpolationMode(mode))
    picture = pillow(photo)
    for seed in range(10):
        crop = seeded(seed, ours, photo)
        assert crop.dtype == torch.uint8 and crop.shape == (3, size, size)
        assert torch.equal(crop, seeded(seed, theirs, photo))
        reference = v2.functional.pil_to_tensor(seeded(seed, theirs, picture))
        assert (crop.int() - reference.int()).abs().max() <= 1


def test_arguments_reach_the_draws(photo, seeded):
    for arguments in ({"scale": (0.5, 0.6)}, {"ratio": (1.9, 2.0)}):
        ours, theirs = RandomResizedCrop(32, **arguments), v2.RandomResizedCrop(32, **arguments)
        assert torch.equal(seeded(3, ours, photo), seeded(3, theirs, photo))
        assert not torch.equal(seeded(3, ours, photo), seeded(3, RandomResizedCrop(32), photo))


def test_result_is_in_channels_last_order(photo):
    crop = RandomResizedCrop(32)(photo)
    assert crop[None].permute(0, 2, 3, 1).is_contiguous()
    assert torch.equal(RandomResizedCrop(32, (1, 1), (1, 1))(photo[:, :32, :32]), photo[:, :32, :32])


def test_an_image_smaller_than_the_crop(photo, seeded):
    small = photo[:, :9, :7]
    crop = seeded(0, RandomResizedCrop(64), small)
    assert torch.equal(crop, seeded(0, v2.RandomResizedCrop(64), small)) and crop.shape == (3, 64, 64)


def test_refuses_an_interpolation_that_is_not_for_bytes():
    with pytest.raises(ValueError, match="no 'nearest' among .*: bilinear, bicubic"):
        RandomResizedCrop(32, interpolation="nearest")


@pytest.mark.parametrize(("height", "width"), [(300, 400), (40, 1), (1, 40), (30, 10), (10, 30), (7, 5)])
def test_draws_are_torchvisions_number_by_number(height, width, seeded):
    """Also where ten tries fail and the middle is taken (narrow images), and what is drawn after them."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for arguments in ({}, {"scale": (0.6, 1.0), "ratio": (0.5, 1.2)}):
        ours, theirs = RandomResizedCrop(32, **arguments), v2.RandomResizedCrop(32, **arguments)
        for seed in range(200):
            mine = seeded(seed, ours.make_params, [image]), torch.rand(1)
            assert mine == (seeded(seed, theirs.make_params, [image]), torch.rand(1))
