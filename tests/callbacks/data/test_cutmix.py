"""CutMix: the box, the fractions of the labels, and the draw."""

from types import SimpleNamespace

import pytest
import timm.data.mixup
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from callbacks import CutMix, Steps
from callbacks.data import cutmix as module
from callbacks.data.cutmix import box_at, cutmix
from tests.callbacks.conftest import SeenBatches

PERM = torch.tensor([3, 0, 5, 1, 4, 2])


def test_by_hand():
    images = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    x, y = cutmix(images, torch.eye(2), box=(1, 3, 0, 2), perm=torch.tensor([1, 0]))
    assert x[0, 0].tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert torch.equal(x[1], 1 - x[0])
    assert y.tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_leaves_the_callers_images_alone(images):
    before = images[0].clone()
    cutmix(images[0], F.one_hot(images[1]).float(), (0, 8, 0, 8), PERM)
    assert torch.equal(images[0], before)


def test_box_has_the_share_of_the_image():
    assert box_at(0.75, 4, 8, 8, 16) == (2, 6, 4, 12)  # half of each side: a quarter of the area
    assert box_at(0.0, 4, 8, 8, 16) == (0, 8, 0, 16)


def test_box_is_cut_at_the_border():
    assert box_at(0.75, 0, 15, 8, 16) == (0, 2, 11, 16)


def test_lam_one_is_the_identity(images):
    x, y = cutmix(images[0], F.one_hot(images[1]).float(), box_at(1.0, 3, 3, 8, 8), PERM)
    assert torch.equal(x, images[0]) and torch.equal(y, F.one_hot(images[1]).float())


@pytest.mark.parametrize("row", [0, 5, 9])
@pytest.mark.parametrize("lam", [0.05, 0.4, 0.9])
def test_label_share_is_the_share_of_pixels(row, lam):
    images = torch.stack([torch.full((1, 10, 6), float(i)) for i in range(3)])
    x, y = cutmix(images, torch.eye(3), box_at(lam, row, 5, 10, 6), torch.tensor([1, 2, 0]))
    pixels = torch.stack([(x == k).float().mean((1, 2, 3)) for k in range(3)], dim=1)
    torch.testing.assert_close(y, pixels)


def test_same_loss_as_the_authors_who_mix_losses(images):
    targets, logits = images[1], torch.randn(6, 5)
    _, y = cutmix(images[0], F.one_hot(targets).float(), (0, 4, 0, 4), PERM)
    theirs = 0.75 * F.cross_entropy(logits, targets) + 0.25 * F.cross_entropy(logits, targets[PERM])
    torch.testing.assert_close(F.cross_entropy(logits, y), theirs)


@pytest.mark.parametrize("lam", [0.0, 0.4375, 0.75, 0.9375])  # even sides: timm's versions differ for odd ones
def test_same_box_as_timm(monkeypatch, lam):
    for row in range(16):
        for column in range(24):
            centre = iter((row, column))
            monkeypatch.setattr(timm.data.mixup.np.random, "randint", lambda *_, c=centre, **__: next(c))
            assert box_at(lam, row, column, 16, 24) == timm.data.mixup.rand_bbox((1, 3, 16, 24), lam)


def test_odd_sides_keep_their_pixel():
    assert box_at(0.75, 5, 4, 10, 14) == (3, 8, 1, 8)  # 5 x 7 px


@pytest.fixture
def draws(monkeypatch):
    """Return `draws(n, trick)`, which gives the arguments of every box, and the batches."""

    def draw(n, trick):
        torch.manual_seed(0)
        boxes, batches = [], []
        monkeypatch.setattr(module, "box_at", lambda *a: boxes.append(a) or box_at(*a))
        for _ in range(n):
            batch = [torch.zeros(16, 1, 32, 24), torch.arange(16)]
            trick.on_train_batch_start(None, SimpleNamespace(num_classes=16), batch, 0)
            batches.append(batch)
        return boxes, batches

    return draw


def test_centre_is_uniform_over_the_pixels(draws):
    boxes, _ = draws(3000, CutMix())
    assert {box[3:] for box in boxes} == {(32, 24)}
    cells = torch.zeros(8, 6)
    for _, row, column, _, _ in boxes:
        cells[row // 4, column // 4] += 1
    expected = 3000 / 48
    assert (cells - expected).abs().max() < 4.5 * expected**0.5
    assert {box[1] for box in boxes} == set(range(32)) and {box[2] for box in boxes} == set(range(24))


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_draws_are_beta_and_pairs_are_random(draws, alpha):
    boxes, batches = draws(2000, CutMix(alpha))
    lam = torch.tensor([box[0] for box in boxes])
    assert lam.mean() == pytest.approx(1 / 2, abs=0.03)
    assert lam.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    own = torch.stack([targets.diagonal() for _, targets in batches])
    partners = own[own.amin(1) < 0.95] == 1
    assert partners.float().mean() == pytest.approx(1 / 16, abs=0.01)


def test_label_shares_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    theirs = v2.CutMix(num_classes=3)
    theirs = torch.tensor([theirs.make_params([torch.zeros(2, 3, 256, 256)])["lam_adjusted"] for _ in range(2000)])
    ours = []
    for _ in range(2000):
        batch = [torch.empty(2, 0, 256, 256), torch.eye(2)]
        CutMix().on_train_batch_start(None, SimpleNamespace(num_classes=2), batch, 0)
        ours += [batch[1][0, 0]] if batch[1][0, 0] < 1 else []  # half of the permutations are the identity
    ours = torch.stack(ours)
    assert ours.mean() == pytest.approx(theirs.mean().item(), abs=0.03)
    assert ours.std() == pytest.approx(theirs.std().item(), abs=0.02)


def test_p_is_the_share_of_batches_that_are_mixed(draws):
    boxes, batches = draws(2000, CutMix(p=0.3))
    mixed = [targets.is_floating_point() for _, targets in batches]
    assert sum(mixed) == len(boxes)
    assert sum(mixed) / 2000 == pytest.approx(0.3, abs=0.04)


def test_follows_a_schedule_of_p(tiny_model, tiny_data, trainer):
    seen = SeenBatches()
    trainer(callbacks=[CutMix(p=Steps(0, {"1ep": 1})), seen]).fit(tiny_model, tiny_data)
    assert [targets.is_floating_point() for _, targets in seen.train] == [False] * 3 + [True] * 3


@pytest.mark.parametrize("arguments", [{"alpha": 0}, {"p": 0}, {"p": 1.5}, {"p": -0.1}, {"p": Steps(0, {1: 2})}])
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="must be in"):
        CutMix(**arguments)
