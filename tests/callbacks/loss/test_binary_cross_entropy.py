"""Binary cross-entropy: by hand, against timm's, mixed targets, and in a run."""

import math

import pytest
import torch
import torch.nn.functional as F
from timm.loss import BinaryCrossEntropy as TimmBCE

from callbacks import BinaryCrossEntropy, MixUp
from callbacks.loss.binary_cross_entropy import binary_cross_entropy
from tests.callbacks.conftest import SeenSteps


def test_by_hand():
    z, q = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[1.0, 0.0]])  # sigmoids 1/2, 3/4
    total = math.log(2) + math.log(4)
    assert binary_cross_entropy(z, q, True).item() == pytest.approx(total, rel=1e-6)
    assert binary_cross_entropy(z, q).item() == pytest.approx(total / 2, rel=1e-6)


@pytest.mark.parametrize("sum_classes", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_targets_as_in_timm(sum_classes, smoothing):
    torch.manual_seed(0)
    z, hard = 3 * torch.randn(6, 5), torch.arange(6) % 5
    theirs = TimmBCE(smoothing=smoothing, sum_classes=sum_classes)(z, hard)
    for threshold in (None, 0.0, 0.2):
        torch.testing.assert_close(BinaryCrossEntropy(threshold, sum_classes, smoothing).loss(z, hard), theirs)


@pytest.mark.parametrize("threshold", [None, 0.0, 0.2])
def test_mixed_targets_as_in_timm(threshold):
    torch.manual_seed(0)
    z, y = torch.randn(3, 5), torch.zeros(3, 5)
    y[0, [1, 2]], y[1, [0, 3]], y[2, 4] = torch.tensor([0.9, 0.1]), torch.tensor([0.3, 0.7]), 1.0
    theirs = TimmBCE(smoothing=0.0, target_threshold=threshold)(z, y)
    torch.testing.assert_close(BinaryCrossEntropy(threshold).loss(z, y), theirs)


def test_shares_do_not_count_by_default():
    torch.manual_seed(0)
    z, trick = torch.randn(1, 5), BinaryCrossEntropy()
    one, other = torch.tensor([[0.99, 0.01, 0, 0, 0]]), torch.tensor([[0.5, 0.5, 0, 0, 0]])
    assert torch.equal(trick.loss(z, one), trick.loss(z, other))
    assert torch.equal(trick.loss(z, one), binary_cross_entropy(z, (one > 0).float()))


def test_smoothing_comes_after_the_threshold():
    z, y = torch.randn(1, 4), torch.tensor([[0.6, 0.4, 0, 0]])
    expected = binary_cross_entropy(z, torch.tensor([[0.925, 0.925, 0.025, 0.025]]))
    torch.testing.assert_close(BinaryCrossEntropy(smoothing=0.1).loss(z, y), expected)


@pytest.mark.parametrize("mixed", [False, True])
def test_reaches_the_run(tiny_model, tiny_data, trainer, mixed):
    steps = SeenSteps()
    tricks = [*([MixUp(1.0)] if mixed else []), BinaryCrossEntropy(sum_classes=True), steps]
    trainer(callbacks=tricks, max_epochs=1).fit(tiny_model, tiny_data)
    for step in steps.steps:
        assert step.targets.is_floating_point() == mixed
        y = step.targets if mixed else F.one_hot(step.targets, 10)
        expected = F.binary_cross_entropy_with_logits(step.logits, (y > 0).float(), reduction="sum") / 4
        torch.testing.assert_close(step.loss, expected)


@pytest.mark.parametrize("arguments", [{"threshold": 1}, {"threshold": -0.1}, {"smoothing": 1}, {"smoothing": -0.1}])
def test_refusals(arguments):
    with pytest.raises(ValueError, match=f"{[*arguments][0]} must be"):
        BinaryCrossEntropy(**arguments)
