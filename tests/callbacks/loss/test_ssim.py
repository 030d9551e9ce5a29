"""SSIM: against torchmetrics, flat maps by hand, its limits, small maps, and a U-Net that trains with it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.functional.image import structural_similarity_index_measure

from callbacks import SSIM, Dice
from callbacks.loss.ssim import C1, C2, ssim
from tests.conftest import collate
from zoo import Segmenter, Step


def as_torchmetrics(p, y):
    """Return their S of every pixel whose window lies inside."""
    _, full = structural_similarity_index_measure(p, y, data_range=1.0, return_full_image=True)
    return full[..., 5:-5, 5:-5]


def test_as_torchmetrics_has_it_inside_the_borders():
    torch.manual_seed(1)
    p, y = torch.rand(3, 2, 20, 27, dtype=torch.float64), torch.rand(3, 2, 20, 27, dtype=torch.float64)
    ours = ssim(p, (p + y) / 2)
    assert ours.shape == (3, 2, 10, 17)
    torch.testing.assert_close(ours, as_torchmetrics(p, (p + y) / 2), rtol=1e-5, atol=1e-6)


def test_flat_maps_by_hand():
    p, y = torch.full((1, 1, 12, 12), 0.2), torch.full((1, 1, 12, 12), 0.5)
    expected = (2 * 0.2 * 0.5 + C1) / (0.2**2 + 0.5**2 + C1)
    torch.testing.assert_close(ssim(p, y), torch.full((1, 1, 2, 2), expected), rtol=1e-3, atol=0)
    assert ssim(0 * p, 0 * y).mean() == 1 == ssim(y, y).mean()


def test_two_pixels_by_hand():
    """A map of 1 x 2: both weigh 1/2. p = 0, 1 and y = 1, 0: means 1/2, variances 1/4, covariance -1/4."""
    p = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(ssim(p, p.flip(3)).item(), (-0.5 + C2) / (0.5 + C2))


def step(logits, targets):
    return Step(logits, targets, logits, logits.sum() * 0, {})


def test_equal_masks_cost_nothing_and_opposite_ones_most():
    masks = torch.randint(2, (2, 16, 14))
    z = 200 * (F.one_hot(masks, 2).movedim(-1, 1).float() - 0.5)
    assert SSIM().term(None, step(z, masks)).item() == pytest.approx(0, abs=1e-5)
    assert 1 < SSIM().term(None, step(-z, masks)).item() < 2


def test_a_classifiers_logits_are_maps_of_one_pixel():
    z, targets = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    p, y = z.softmax(1), F.one_hot(targets, 3).float()
    expected = 1 - ((2 * p * y + C1) / (p**2 + y**2 + C1)).mean()
    torch.testing.assert_close(SSIM().term(None, step(z, targets)), expected)


def test_slopes_are_right_and_finite():
    torch.manual_seed(0)
    y = torch.rand(1, 2, 5, 12, dtype=torch.float64)
    p = torch.rand(1, 2, 5, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: ssim(p, y), p)
    z = torch.zeros(2, 2, 12, 12, requires_grad=True)  # flat: no variance in any window
    SSIM().term(None, step(z, torch.zeros(2, 12, 12, dtype=torch.int64))).backward()
    assert z.grad.isfinite().all() and z.grad.any()


def test_a_segmentation_learns_its_edges(trainer):
    """With Dice, on squares: the SSIM of the masks rises."""
    torch.manual_seed(3)
    masks = torch.zeros(8, 16, 16, dtype=torch.int64)
    masks[:, 4:11, 3:12] = 1
    images = masks[:, None].float() + 0.3 * torch.randn(8, 3, 16, 16)
    data = DataLoader(list(zip(images, masks, strict=True)), batch_size=4, collate_fn=collate)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))
    model = Segmenter(network, num_classes=2, lr=0.1)

    def score():
        return SSIM().term(None, step(model(images), masks)).item()

    before = score()
    trainer(callbacks=[Dice(), SSIM(0.5)], max_epochs=20, limit_val_batches=0).fit(model, data)
    assert score() < 0.5 * before
