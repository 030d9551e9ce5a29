"""MixUpOrCutMix: its two tricks, their frequencies, timm's labels, and a schedule."""

from types import SimpleNamespace

import pytest
import timm.data
import torch
import torch.nn.functional as F

from callbacks import CutMix, MixUp, MixUpOrCutMix, Steps
from tests.callbacks.conftest import SeenBatches

EIGHT = SimpleNamespace(num_classes=8)


def mix(trick, images, skip=0):
    """Return a batch mixed after `skip` draws of seed 0."""
    torch.manual_seed(0)
    torch.rand(skip)
    batch = [images, torch.arange(len(images))]
    trick.on_train_batch_start(None, EIGHT, batch, 0)
    return batch


@pytest.mark.parametrize(("switch", "alone"), [(1e-9, MixUp(0.4)), (1 - 1e-9, CutMix(0.7))])
def test_is_one_of_the_two(switch, alone):
    images = torch.randn(8, 3, 6, 6)
    both = mix(MixUpOrCutMix(0.4, 0.7, switch), images)
    expected = mix(alone, images, skip=2)
    assert torch.equal(both[0], expected[0]) and torch.equal(both[1], expected[1])


def kinds(trick, n):
    """Count, by the pixels of n batches, those that are unchanged, cut and blended."""
    torch.manual_seed(0)
    counts = {"left": 0, "cut": 0, "blended": 0}
    for _ in range(n):
        batch = [torch.eye(8).view(8, 8, 1, 1).expand(8, 8, 4, 4), torch.arange(8)]
        trick.on_train_batch_start(None, EIGHT, batch, 0)
        pure = ((batch[0] == 0) | (batch[0] == 1)).all()
        counts["left" if not batch[1].is_floating_point() else "cut" if pure else "blended"] += 1
    return [counts[kind] / n for kind in ("left", "cut", "blended")]


@pytest.mark.parametrize(("switch", "p"), [(0.5, 1.0), (0.2, 1.0), (0.5, 0.4)])
def test_shares(switch, p):
    assert kinds(MixUpOrCutMix(switch=switch, p=p), 2000) == pytest.approx(
        [1 - p, p * switch, p * (1 - switch)], abs=0.045
    )


def test_label_shares_are_distributed_as_timms():
    torch.manual_seed(0)
    theirs = timm.data.Mixup(0.8, 1.0, num_classes=8, label_smoothing=0)
    ours, other = [], []
    for _ in range(1500):
        batch = [torch.zeros(8, 1, 64, 64), torch.arange(8)]
        MixUpOrCutMix().on_train_batch_start(None, EIGHT, batch, 0)
        ours.append(batch[1].diagonal().amin())
        other.append(theirs(torch.zeros(8, 1, 64, 64), torch.arange(8))[1].diagonal().amin())
    ours, other = torch.stack(ours), torch.stack(other)
    assert ours.mean() == pytest.approx(other.mean().item(), abs=0.045)
    assert ours.std() == pytest.approx(other.std().item(), abs=0.03)


def test_off_after_a_time(tiny_model, tiny_data, trainer):
    seen = SeenBatches()
    trainer(callbacks=[MixUpOrCutMix(p=Steps(1, {"0.5dur": 0})), seen]).fit(tiny_model, tiny_data)
    assert [targets.is_floating_point() for _, targets in seen.train] == [True] * 3 + [False] * 3


def test_takes_soft_targets():
    soft = F.one_hot(torch.arange(8)).float() * 0.9 + 0.0125
    batch = [torch.zeros(8, 1, 4, 4), soft]
    MixUpOrCutMix().on_train_batch_start(None, EIGHT, batch, 0)
    torch.testing.assert_close(batch[1].sum(1), torch.ones(8))


@pytest.mark.parametrize(
    "arguments",
    [
        {"mixup_alpha": 0},
        {"cutmix_alpha": -1},
        {"switch": 0},
        {"switch": 1},
        {"switch": 1.5},
        {"switch": Steps(0.5, {1: 2})},
        {"p": 0},
        {"p": 1.5},
    ],
)
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="MixUpOrCutMix: .* must be in"):
        MixUpOrCutMix(**arguments)
