"""Gaussian noise: the equation by hand, and the distribution of the draw."""

import lightning as L
import pytest
import torch

from callbacks.data.gaussian_noise import GaussianNoise, add_noise


def test_by_hand():
    images, z = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[-1.0, 3.0]]]])
    torch.testing.assert_close(add_noise(images, z, 0.5), torch.tensor([[[[0.5, 3.5]]]]))


def test_the_draw_is_standard_normal():
    torch.manual_seed(3)
    batch = [torch.zeros(64, 3, 40, 30), torch.zeros(64, dtype=torch.int64)]
    GaussianNoise(0.2).on_train_batch_start(L.Trainer(barebones=True), L.LightningModule(), batch, 0)
    assert batch[0].std().item() == pytest.approx(0.2, rel=0.01) and abs(batch[0].mean().item()) < 0.002


def test_a_sigma_of_zero_is_refused():
    with pytest.raises(ValueError, match="GaussianNoise: sigma must be in"):
        GaussianNoise(0)
