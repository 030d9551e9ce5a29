"""Elastic deformation: against scipy, a shift by hand, how far pixels move, masks, and draws for each image."""

from math import pi, sqrt

import lightning as L
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch.nn import functional as F

from callbacks import ElasticDeformation
from callbacks.data.elastic_deformation import displacement, warp


@pytest.mark.parametrize(("alpha", "sigma"), [(34.0, 4.0), (8.0, 1.3)])
def test_as_scipy_does_it(alpha, sigma):
    torch.manual_seed(2)
    images, u = torch.rand(3, 2, 17, 23, dtype=torch.float64), 2 * torch.rand(3, 2, 17, 23, dtype=torch.float64) - 1
    ours = warp(images, displacement(u, alpha, sigma)).numpy()
    rows, columns = np.mgrid[:17, :23]
    for n in range(3):
        dy, dx = (alpha * gaussian_filter(u[n, i].numpy(), sigma, mode="constant") for i in (0, 1))
        for c in range(2):
            theirs = map_coordinates(images[n, c].numpy(), [rows + dy, columns + dx], order=1, mode="nearest")
            np.testing.assert_allclose(ours[n, c], theirs, atol=1e-6)


def test_one_pixel_to_the_left_and_a_half_up_by_hand():
    x = torch.tensor([[0.0, 1.0, 2.0], [4.0, 6.0, 8.0]]).view(1, 1, 2, 3)
    left, up = torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3)
    left[:, 1], up[:, 0] = 1, 0.5
    assert warp(x, left)[0, 0].tolist() == [[1, 2, 2], [6, 8, 8]]
    assert warp(x, up)[0, 0].tolist() == [[2, 3.5, 5], [4, 6, 8]]


def test_pixels_move_as_far_as_theory_says():
    """The deviation of U(-1, 1) is 1 / sqrt 3; a Gaussian of sum 1 leaves 1 / (2 sigma sqrt pi) of it."""
    torch.manual_seed(0)
    d = displacement(2 * torch.rand(40, 2, 96, 80) - 1, 34.0, 4.0)[:, :, 20:-20, 20:-20]
    assert d.std().item() == pytest.approx(34 / sqrt(3) / (2 * 4 * sqrt(pi)), rel=0.03)
    assert abs(d.mean().item()) < 0.2


def deformed(images, targets, seed=5, **arguments):
    torch.manual_seed(seed)
    batch = [images, targets]
    ElasticDeformation(**arguments).on_train_batch_start(L.Trainer(barebones=True), L.LightningModule(), batch, 0)
    return batch


def test_each_image_has_its_own_field_and_the_originals_stay():
    image = torch.rand(1, 3, 12, 20)
    images = image.repeat(4, 1, 1, 1)
    moved, targets = deformed(images, torch.arange(4))
    assert torch.equal(images, image.expand(4, -1, -1, -1)) and torch.equal(targets, torch.arange(4))
    assert not torch.equal(moved[0], moved[1]) and not torch.equal(moved[0], image[0])
    torch.testing.assert_close(deformed(torch.ones(2, 3, 8, 9), torch.arange(2))[0], torch.ones(2, 3, 8, 9))


def test_masks_move_with_their_images():
    """Images that show their mask still show it: pixels of classes at the nearest, probabilities between them."""
    masks = torch.randint(4, (2, 16, 11))
    shown = F.one_hot(masks, 4).movedim(-1, 1).float()
    moved, classes = deformed(shown, masks, alpha=12.0)
    assert classes.dtype == torch.int64 and not torch.equal(classes, masks)
    sure = moved.amax(1) > 0.75
    assert sure.any() and torch.equal(moved.argmax(1)[sure], classes[sure])
    torch.testing.assert_close(*deformed(shown, shown, alpha=12.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_keeps_the_precision_and_the_layout(dtype):
    images = torch.rand(2, 3, 9, 7).to(dtype).to(memory_format=torch.channels_last)
    moved = deformed(images, torch.arange(2))[0]
    assert moved.dtype == dtype and moved.is_contiguous(memory_format=torch.channels_last)
