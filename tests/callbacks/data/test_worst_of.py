"""Worst of k: turns and shifts as torchvision has them, the choice by hand, and what the choosing leaves alone."""

from math import pi

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V2

from callbacks import WorstOf
from callbacks.data.worst_of import turn_and_shift
from tests.callbacks.conftest import SeenBatches, weights
from tests.conftest import tiny_classifier
from zoo import Classifier


@pytest.mark.parametrize(("degrees", "down", "right"), [(0, 3, -5), (25, 0, 0), (-90, 2, 1), (13, -4, 6)])
def test_as_torchvision_does_it(degrees, down, right):
    torch.manual_seed(1)
    image = torch.rand(2, 3, 20, 32)
    theta = torch.tensor([[degrees * pi / 180, down / 20, right / 32]]).expand(2, -1)
    theirs = V2.affine(image, degrees, [right, down], 1.0, [0.0, 0.0], InterpolationMode.BILINEAR)
    torch.testing.assert_close(turn_and_shift(image, theta), theirs, rtol=1e-4, atol=1e-4)


def test_draws_are_uniform_and_each_image_has_its_own(trainer):
    """Shifts alone, of an image that shows its own rows and columns."""
    torch.manual_seed(2)
    ramp = torch.arange(40.0).view(1, 1, 1, 40).expand(512, 1, 40, 40).contiguous()
    batch = [ramp.clone(), torch.zeros(512, dtype=torch.int64)]
    WorstOf(1, 0, 0.25).on_train_batch_start(trainer(), tiny_classifier(), batch, 0)
    right = 20 - batch[0][:, 0, 20, 20]
    assert right.abs().max() <= 10 and right.mean().abs() < 1.2  # the deviation of a mean is 10 / sqrt(3 512)
    assert right.std().item() == pytest.approx(10 / 3**0.5, rel=0.1)


class Brightness(nn.Module):
    """Two classes: the more of the image has left the frame, the less probable is class 1."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.passes = 0

    def forward(self, x):
        self.passes += not self.training
        return torch.stack([torch.zeros(len(x)), self.scale * x.mean((1, 2, 3))], 1)


@pytest.mark.parametrize("label", [0, 1])
def test_takes_the_draw_with_the_largest_loss(label, trainer):
    images, targets = torch.ones(64, 3, 16, 12), torch.full((64,), label)
    model, means = Classifier(Brightness(), num_classes=2), {}
    for k in (1, 8):
        torch.manual_seed(3)
        batch = [images, targets]
        WorstOf(k, 0, 0.5).on_train_batch_start(trainer(), model, batch, 0)
        means[k] = batch[0].mean((1, 2, 3))
    torch.manual_seed(3)
    theta = (2 * torch.rand(8, 64, 3) - 1) * torch.tensor([0, 0.5, 0.5])
    all_means = torch.stack([turn_and_shift(images, each).mean((1, 2, 3)) for each in theta])
    expected = all_means.amin(0) if label else all_means.amax(0)
    torch.testing.assert_close(means[8], expected)
    assert (means[8].mean() < means[1].mean()) == bool(label)
    assert model.network.passes == 8  # one draw needs no choice
    assert model.training and torch.equal(images, torch.ones(64, 3, 16, 12))


def test_mixed_targets_mix_the_losses(trainer):
    batch = [torch.ones(8, 3, 16, 12), torch.tensor([[0.9, 0.1]]).expand(8, -1)]
    torch.manual_seed(4)
    WorstOf(6, 0, 0.5).on_train_batch_start(trainer(), Classifier(Brightness(), num_classes=2), batch, 0)
    torch.manual_seed(4)
    theta = (2 * torch.rand(6, 8, 3) - 1) * torch.tensor([0, 0.5, 0.5])
    means = torch.stack([turn_and_shift(torch.ones(8, 3, 16, 12), each).mean((1, 2, 3)) for each in theta])
    torch.testing.assert_close(batch[0].mean((1, 2, 3)), means.amax(0))


def test_choosing_moves_no_statistics_and_no_modes(tiny_data, trainer):
    model = tiny_classifier()
    model.network.block1.bn1.eval()
    before = weights(model)
    batch = next(iter(tiny_data))
    run = trainer()
    WorstOf(3).on_train_batch_start(run, model, batch, 0)
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())
    assert model.network.block2.bn1.training and not model.network.block1.bn1.training
    assert all(p.grad is None for p in model.parameters()) and not batch[0].requires_grad


def test_in_a_run_the_network_sees_the_worst(tiny_data, trainer):
    seen = SeenBatches()
    trainer(callbacks=[WorstOf(4), seen], max_epochs=1).fit(tiny_classifier(), tiny_data)
    assert all(not torch.equal(theirs[0], images) for theirs, (images, _) in zip(seen.train, tiny_data, strict=True))
    assert F.one_hot(torch.cat([targets for _, targets in seen.train]), 10).sum() == 12
