"""mixup: the equation, conserved quantities, and the draw."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from callbacks import MixUp, Steps
from callbacks.data.mixup import mixup
from tests.callbacks.conftest import SeenBatches

PERM = torch.tensor([3, 0, 5, 1, 4, 2])


def test_by_hand():
    images, targets = torch.tensor([[0.0], [4.0]]), torch.eye(2)
    x, y = mixup(images, targets, lam=0.75, perm=torch.tensor([1, 0]))
    assert x.tolist() == [[1.0], [3.0]]
    assert y.tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_lam_one_is_the_identity(images):
    x, y = mixup(images[0], F.one_hot(images[1]).float(), 1.0, PERM)
    assert torch.equal(x, images[0]) and torch.equal(y, F.one_hot(images[1]).float())


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.9])
def test_keeps_the_batch_mean_and_the_unit_mass(images, lam):
    x, y = mixup(images[0], F.one_hot(images[1]).float(), lam, PERM)
    torch.testing.assert_close(x.mean(0), images[0].mean(0))
    torch.testing.assert_close(y.sum(1), torch.ones(6))


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.9])
def test_same_loss_as_the_authors_who_mix_losses(images, lam):
    targets, logits = images[1], torch.randn(6, 5)
    _, y = mixup(images[0], F.one_hot(targets).float(), lam, PERM)
    theirs = lam * F.cross_entropy(logits, targets) + (1 - lam) * F.cross_entropy(logits, targets[PERM])
    torch.testing.assert_close(F.cross_entropy(logits, y), theirs)


@pytest.mark.parametrize("alpha", [0.005, 0.2, 1.0, 2.0, 20.0])
def test_draws_are_beta_and_pairs_are_random(alpha):
    torch.manual_seed(0)
    own = []
    for _ in range(2000):
        batch = [torch.zeros(16, 1), torch.arange(16)]
        MixUp(alpha).on_train_batch_start(None, SimpleNamespace(num_classes=16), batch, 0)
        own.append(batch[1].diagonal())  # lam, or 1 where an example is its own partner
    own = torch.stack(own)
    lam = own.amin(1)
    assert lam.mean() == pytest.approx(1 / 2, abs=0.03)
    assert lam.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)  # variance of Beta(alpha, alpha)
    partners = own[lam < 0.9] == 1
    assert partners.float().mean() == pytest.approx(1 / 16, abs=0.01)  # fixed points of a random permutation


def test_mixes_soft_targets_again():
    torch.manual_seed(0)
    soft = torch.rand(16, 4).softmax(1)
    batch = [torch.zeros(16, 1), soft]
    MixUp().on_train_batch_start(None, SimpleNamespace(num_classes=4), batch, 0)
    torch.testing.assert_close(batch[1].mean(0), soft.mean(0))
    assert not torch.allclose(batch[1], soft)


def test_follows_a_schedule_of_alpha(tiny_model, tiny_data, trainer):
    seen = SeenBatches()
    alpha = Steps(1e-3, {"0.5dur": 1e6})  # lam is 0 or 1, then 1 / 2
    trainer(callbacks=[MixUp(alpha), seen], max_epochs=6).fit(tiny_model, tiny_data)
    largest = torch.stack([targets.amin(1) + targets.amax(1) for _, targets in seen.train])  # 1, or lam of a pair
    assert largest[:9].min() > 0.99
    assert largest[9:].min() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), Steps(1.0, {"0.5dur": 0})])
def test_refuses_a_wrong_alpha(alpha):
    with pytest.raises(ValueError, match="alpha must be in"):
        MixUp(alpha)


def test_refusal_of_zero_says_how_to_do_without():
    with pytest.raises(ValueError, match="leave MixUp out"):
        MixUp(0)
