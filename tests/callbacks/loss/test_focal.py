"""Focal loss: by hand, against torchvision's binary form, its limits, and in a run."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from callbacks import FocalLoss, LabelSmoothing
from callbacks.data.mixup import mixup
from callbacks.loss.focal import focal_loss
from tests.callbacks.conftest import SeenSteps
from tests.conftest import build_trick


def test_by_hand():
    z, y = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[0.0, 1.0]])  # p = 1/4, 3/4
    assert focal_loss(z, y, 2.0).item() == pytest.approx(-(0.25**2) * math.log(0.75), rel=1e-6)
    alpha = torch.tensor([9.0, 0.5])
    assert focal_loss(z, 1 - y, 1.0, alpha).item() == pytest.approx(-9 * 0.75 * math.log(0.25), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_two_classes_are_the_papers_binary_form(gamma):
    torch.manual_seed(0)
    z, hard = 3 * torch.randn(50), torch.arange(50) % 2
    ours = focal_loss(torch.stack([torch.zeros(50), z], 1), F.one_hot(hard).float(), gamma, torch.tensor([0.75, 0.25]))
    theirs = sigmoid_focal_loss(z, hard.float(), alpha=0.25, gamma=gamma, reduction="mean")
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("soft", [False, True])
def test_without_gamma_it_is_the_cross_entropy(soft):
    torch.manual_seed(0)
    z, hard = torch.randn(6, 5), torch.arange(6) % 5
    y = torch.rand(6, 5).softmax(1) if soft else F.one_hot(hard).float()
    torch.testing.assert_close(focal_loss(z, y, 0.0), F.cross_entropy(z, y if soft else hard))


def test_mixed_targets_mix_the_losses(images):
    torch.manual_seed(0)
    z, y = torch.randn(6, 5), F.one_hot(images[1]).float()
    mixed = mixup(images[0], y, 0.3, torch.arange(5, -1, -1))[1]
    torch.testing.assert_close(focal_loss(z, mixed), 0.3 * focal_loss(z, y) + 0.7 * focal_loss(z, y.flip(0)))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sure_and_wrong_logits_have_finite_slopes(gamma):
    z = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0], [1e4, -1e4, 0.0]], requires_grad=True)
    loss = focal_loss(z, torch.eye(3)[[0, 0, 0]], gamma)
    loss.backward()
    assert loss.isfinite() and z.grad.isfinite().all()
    assert loss.item() == pytest.approx(200 / 3, rel=1e-6)


def test_the_right_ones_fade():
    """An example with probability p has (1 - p)^gamma times its cross-entropy."""
    z, y = torch.tensor([[math.log(9), 0.0]]), torch.tensor([[1.0, 0.0]])  # p = .9
    assert (focal_loss(z, y, 2.0) / focal_loss(z, y, 0.0)).item() == pytest.approx(0.01, rel=1e-5)


@pytest.mark.parametrize("alpha", [None, (0.1,) * 5 + (2.0,) * 5])
def test_reaches_the_run(tiny_model, tiny_data, trainer, alpha):
    steps = SeenSteps()
    trainer(callbacks=[FocalLoss(1.5, alpha), steps], max_epochs=1).fit(tiny_model, tiny_data)
    weights = None if alpha is None else torch.tensor(alpha)
    for step in steps.steps:
        torch.testing.assert_close(step.loss, focal_loss(step.logits, F.one_hot(step.targets, 10), 1.5, weights))


def test_refusals(tiny_model, tiny_data, trainer):
    with pytest.raises(ValueError, match="gamma must be"):
        FocalLoss(-1)
    with pytest.raises(ValueError, match="alpha must be"):
        FocalLoss(2, (1.0, -1.0))
    with pytest.raises(ValueError, match="alpha has 3 numbers, and there are 10 classes"):
        trainer(callbacks=[FocalLoss(2, (1, 2, 3))]).fit(tiny_model, tiny_data)
    with pytest.raises(ValueError, match="both replace the cross-entropy: take one of them out"):
        trainer(callbacks=[LabelSmoothing(), FocalLoss()]).fit(tiny_model, tiny_data)
    with pytest.raises(ValueError, match="list it before KnowledgeDistillation"):
        trainer(callbacks=[build_trick("KnowledgeDistillation"), FocalLoss()]).fit(tiny_model, tiny_data)
