"""The Bag of Tricks' jitter, against Python's colorsys a pixel at a time."""

import colorsys

import pytest
import torch

from datamodules.transforms import HSVScaling
from datamodules.transforms.hsv_scaling import hsv_scaling


def reference(pixel, scales):
    h, s, v = colorsys.rgb_to_hsv(*(byte / 255 for byte in pixel))
    h, s, v = h * scales[0] % 1, min(1, s * scales[1]), min(1, v * scales[2])
    return [255 * c for c in colorsys.hsv_to_rgb(h, s, v)]


@pytest.mark.parametrize("scales", [(0.6, 1.0, 1.0), (1.4, 1.4, 1.4), (1.0, 0.6, 1.3), (0.83, 1.21, 0.6), (2.0, 0, 1)])
def test_is_colorsys(scales):
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8)
    corners = torch.tensor(
        [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [9, 9, 9]]
    )
    pixels[:, 0, : len(corners)] = corners.T
    scaled = hsv_scaling(pixels, torch.tensor(scales)).flatten(1).T
    expected = torch.tensor([reference(pixel, scales) for pixel in pixels.flatten(1).T.tolist()])
    assert (scaled - expected).abs().max() < 0.51  # rounded


def test_ones_change_nothing(photo):
    assert torch.equal(hsv_scaling(photo, torch.ones(3)), photo)


def test_grey_stays_grey_and_keeps_no_hue():
    grey = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16)
    assert torch.equal(hsv_scaling(grey, torch.tensor([1.3, 1.4, 1.0])), grey)
    brighter = hsv_scaling(grey, torch.tensor([1.0, 1.0, 1.4]))
    assert torch.equal(brighter, (grey * 1.4).clamp(max=255).round().byte())


def test_draws_are_uniform_and_independent():
    torch.manual_seed(0)
    drawn = torch.stack([HSVScaling().make_params([])["scales"] for _ in range(4000)])
    assert 0.6 <= drawn.min() < 0.602 and 1.398 < drawn.max() <= 1.4
    torch.testing.assert_close(drawn.mean(0), torch.ones(3), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.var(0), torch.full((3,), 0.8**2 / 12), atol=0.003, rtol=0)
    assert (drawn.T.corrcoef() - torch.eye(3)).abs().max() < 0.06


def test_refuses_a_strength_beyond_one():
    with pytest.raises(ValueError, match="strength"):
        HSVScaling(1.2)
