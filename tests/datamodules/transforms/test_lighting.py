"""PCA noise: the equation by hand, and the covariance of what is added."""

import pytest
import torch

from datamodules.transforms import Lighting
from datamodules.transforms.lighting import lighting


def test_worked_by_hand():
    """255 * .2175 * a1 = 55.46 a1, times p1 = (-.5675, -.5808, -.5836); and so on for the others."""
    grey = torch.full((3, 1, 1), 100, dtype=torch.uint8)
    for alpha, added in [
        ((1.0, 0, 0), (-31.47, -32.21, -32.37)),
        ((0, 1.0, 0), (3.45, -0.02, -3.33)),
        ((0, 0, 10.0), (4.60, -9.34, 4.82)),
        ((-0.2, 0.5, 2.0), (6.29 + 1.72 + 0.92, 6.44 - 0.01 - 1.87, 6.47 - 1.67 + 0.96)),
    ]:
        expected = [round(100 + value) for value in added]
        assert lighting(grey, torch.tensor(alpha)).flatten().tolist() == expected


def test_is_clipped_and_leaves_the_image_alone():
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(3, 1, 3)
    dark, light = lighting(image, torch.tensor([2.0, 0, 0])), lighting(image, torch.tensor([-2.0, 0, 0]))
    assert dark[0, 0].tolist() == [0, 65, 192] and light[0, 0].tolist() == [63, 191, 255]
    assert image[0, 0].tolist() == [0, 128, 255]
    assert torch.equal(lighting(image, torch.zeros(3)), image)


def test_covariance_of_the_noise():
    """255^2 std^2 P diag(l^2) P^T, plus the 1/12 of rounding."""
    torch.manual_seed(0)
    grey, noise = torch.full((3, 1, 1), 128, dtype=torch.uint8), Lighting(0.1)
    added = torch.stack([noise(grey).flatten() for _ in range(4000)]).double() - 128
    p = torch.tensor(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], dtype=torch.float64
    )
    expected = (25.5**2) * p @ torch.diag(torch.tensor([0.2175, 0.0188, 0.0045]).double() ** 2) @ p.T
    expected += torch.eye(3) / 12
    torch.testing.assert_close(added.T.cov(), expected, rtol=0.06, atol=0.06)
    assert added.mean(0).abs().max() < 0.2


def test_all_pixels_move_together(photo, seeded):
    middle = photo.clamp(40, 200)
    shift = seeded(1, Lighting(), middle).int() - middle.int()
    assert torch.equal(shift, shift[:, :1, :1].expand_as(shift)) and shift.abs().sum() > 0


def test_refuses_a_negative_std():
    with pytest.raises(ValueError, match="std must be >= 0"):
        Lighting(-1)
