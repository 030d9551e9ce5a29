"""RICAP: the patches by hand and as the authors make them, the fractions of the labels, and the draws."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from callbacks import RICAP, Steps
from callbacks.data import ricap as module
from callbacks.data.ricap import quarters, ricap

TEN = SimpleNamespace(num_classes=10)


def authors(images, cut, corners, perms):
    """The authors' `ricap`: join four crops in pairs along the rows, then the pairs along the columns."""
    (height, width), (h, w) = images.shape[-2:], cut
    heights, widths = [h, h, height - h, height - h], [w, width - w, w, width - w]
    crops = [
        images[perm][:, :, y : y + heights[k], x : x + widths[k]]
        for k, ((y, x), perm) in enumerate(zip(corners, perms, strict=True))
    ]
    patched = torch.cat([torch.cat([crops[0], crops[2]], 2), torch.cat([crops[1], crops[3]], 2)], 3)
    return patched, [heights[k] * widths[k] / (height * width) for k in range(4)]


def test_by_hand():
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 2, 4)
    perms = [torch.tensor([k]).repeat(4) for k in range(4)]
    x, y = ricap(images, torch.eye(4), (1, 3), [(0, 0), (1, 2), (0, 1), (1, 3)], perms)
    assert x[0, 0].tolist() == [[0, 0, 0, 1], [2, 2, 2, 3]]
    assert y[0].tolist() == [3 / 8, 1 / 8, 3 / 8, 1 / 8]


@pytest.mark.parametrize("cut", [(3, 5), (0, 0), (8, 11), (8, 0), (1, 10)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_same_as_the_authors_who_mix_losses(cut, layout):
    torch.manual_seed(0)
    images = torch.randn(6, 3, 8, 11).contiguous(memory_format=layout)
    targets, logits = torch.randint(10, (6,)), torch.randn(6, 10)
    rooms = [(8 - h, 11 - w) for _, _, h, w in quarters(*cut, 8, 11)]
    corners = [(int(torch.randint(y + 1, ())), int(torch.randint(x + 1, ()))) for y, x in rooms]
    perms = [torch.randperm(6) for _ in range(4)]
    x, y = ricap(images, F.one_hot(targets, 10).float(), cut, corners, perms)
    patched, shares = authors(images, cut, corners, perms)
    assert torch.equal(x, patched) and x.stride() == images.stride()
    losses = sum(s * F.cross_entropy(logits, targets[perm]) for s, perm in zip(shares, perms, strict=True))
    torch.testing.assert_close(F.cross_entropy(logits, y), losses)


def test_whole_images_at_the_edge(images):
    perms = [torch.tensor([3, 0, 5, 1, 4, 2])] * 4
    x, y = ricap(images[0], F.one_hot(images[1]).float(), (8, 8), [(0, 0)] * 4, perms)
    assert torch.equal(x, images[0][perms[0]]) and torch.equal(y, F.one_hot(images[1]).float()[perms[0]])


@pytest.fixture
def draw(monkeypatch):
    """Return `draw(n, beta)`, which gives cuts, corners and permutations of n batches of 4 images of 8 x 12 px."""

    def run(n, beta):
        torch.manual_seed(0)
        calls = []
        monkeypatch.setattr(module, "ricap", lambda *a: calls.append(a[2:]) or [a[0], a[1]])
        for _ in range(n):
            RICAP(beta).on_train_batch_start(None, TEN, [torch.zeros(4, 1, 8, 12), torch.arange(4)], 0)
        return calls

    return run


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_cuts_are_beta(draw, beta):
    cuts = np.array([cut for cut, _, _ in draw(3000, beta)])
    variance = 1 / (4 * (2 * beta + 1))
    for axis, side in ((0, 8), (1, 12)):
        assert cuts[:, axis].min() >= 0 and cuts[:, axis].max() <= side
        assert cuts[:, axis].mean() / side == pytest.approx(0.5, abs=0.03)
        assert cuts[:, axis].var() / side**2 == pytest.approx(variance, rel=0.12)
    assert abs(np.corrcoef(cuts.T)[0, 1]) < 0.08


def test_crops_are_uniform_and_stay_inside(draw):
    tops = []
    for cut, corners, _ in draw(3000, 1.0):
        for (y, x), (_, _, h, w) in zip(corners, quarters(*cut, 8, 12), strict=True):
            assert 0 <= y <= 8 - h and 0 <= x <= 12 - w
        tops += [corners[0][0]] if cut[0] == 4 else []  # of five positions
    counts = np.bincount(tops, minlength=5)
    assert len(counts) == 5 and abs(counts - len(tops) / 5).max() < 4.5 * (len(tops) / 5) ** 0.5


def test_permutations_are_the_quarters_own(draw):
    same = [torch.equal(perms[0], perms[k]) for _, _, perms in draw(1000, 1.0) for k in (1, 2, 3)]
    assert np.mean(same) == pytest.approx(1 / 24, abs=0.02)


def test_soft_targets_keep_their_mass():
    torch.manual_seed(0)
    batch = [torch.randn(8, 3, 6, 6), torch.rand(8, 10).softmax(1)]
    RICAP().on_train_batch_start(None, TEN, batch, 0)
    torch.testing.assert_close(batch[1].sum(1), torch.ones(8))


@pytest.mark.parametrize("beta", [0, -1.0, Steps(1.0, {"0.5dur": 0})])
def test_refuses_a_wrong_beta(beta):
    with pytest.raises(ValueError, match="beta must be in"):
        RICAP(beta)
