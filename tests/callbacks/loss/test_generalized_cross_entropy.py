"""Generalized cross-entropy: by hand, its two limits, the slope that the paper derives, and sure logits."""

import math

import pytest
import torch
import torch.nn.functional as F

from callbacks import GeneralizedCrossEntropy
from callbacks.loss.generalized_cross_entropy import generalized_cross_entropy


def drawn(seed=1):
    torch.manual_seed(seed)
    return 3 * torch.randn(7, 5), torch.arange(7) % 5


def test_by_hand():
    """p = 1/4 and 3/4, q = 1/2: (1 - 1/2) / (1/2) = 1."""
    z = torch.tensor([[0.0, math.log(3)]])
    assert generalized_cross_entropy(z, torch.tensor([[1.0, 0.0]]), 0.5).item() == pytest.approx(1, rel=1e-6)
    expected = 0.3 * 1 + 0.7 * (1 - math.sqrt(0.75)) / 0.5
    assert generalized_cross_entropy(z, torch.tensor([[0.3, 0.7]]), 0.5).item() == pytest.approx(expected, rel=1e-6)


def test_its_limits_are_the_cross_entropy_and_half_the_absolute_error():
    z, targets = drawn()
    y = F.one_hot(targets).float()
    torch.testing.assert_close(generalized_cross_entropy(z, y, 1e-6), F.cross_entropy(z, targets), rtol=1e-4, atol=0)
    absolute = (z.softmax(1) - y).abs().sum(1).mean() / 2
    torch.testing.assert_close(generalized_cross_entropy(z, y, 1.0), absolute)


@pytest.mark.parametrize("q", [0.2, 0.7, 1.0])
def test_the_slope_is_p_to_the_q_of_the_cross_entropys(q):
    z, targets = drawn(4)
    z.requires_grad_()
    ours = torch.autograd.grad(generalized_cross_entropy(z, F.one_hot(targets).float(), q), z)[0]
    plain = torch.autograd.grad(F.cross_entropy(z, targets), z)[0]
    p = z.softmax(1).gather(1, targets[:, None]).detach()
    torch.testing.assert_close(ours, p**q * plain)


def test_sure_and_wrong_logits_have_finite_slopes():
    z = torch.tensor([[200.0, 0.0], [1e4, -1e4]], requires_grad=True)
    loss = generalized_cross_entropy(z, torch.tensor([[0.0, 1.0], [0.0, 1.0]]), 0.7)
    loss.backward()
    assert loss.item() == pytest.approx(1 / 0.7) and z.grad.isfinite().all()


def test_pixels_are_images():
    z, targets = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    flat = GeneralizedCrossEntropy(0.5).loss(z.movedim(1, -1).flatten(0, 2), targets.flatten())
    torch.testing.assert_close(GeneralizedCrossEntropy(0.5).loss(z, targets), flat)
