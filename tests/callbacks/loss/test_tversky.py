"""Tversky loss: by hand, masks against torchmetrics, limits, and a run."""

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.segmentation import dice_score, mean_iou

from callbacks import Tversky
from callbacks.loss.tversky import tversky_index, tversky_loss
from tests.callbacks.conftest import SeenSteps


def test_by_hand():
    p = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # class 0: overlap .8, false positives .4, negatives .2;  class 1: overlap .6, false positives .2, negatives .4
    expected = torch.tensor([1.8 / (1.8 + 0.3 * 0.4 + 0.7 * 0.2), 1.6 / (1.6 + 0.3 * 0.2 + 0.7 * 0.4)])
    torch.testing.assert_close(tversky_index(p, y, 0.3, 0.7), expected)
    torch.testing.assert_close(tversky_loss(p.log(), y, 0.3, 0.7), 1 - expected.mean())


def masks():
    torch.manual_seed(0)
    return torch.randint(3, (4, 5, 6)), torch.randint(3, (4, 5, 6))


def test_on_masks_it_is_what_torchmetrics_counts():
    predicted, true = masks()
    p, y = (F.one_hot(mask, 3).movedim(-1, 1).float() for mask in (predicted, true))
    both = [m.transpose(0, 1).flatten(1).view(1, 3, -1).bool() for m in (p, y)]  # one image of all pixels
    dice, jaccard = dice_score(*both, num_classes=3, average="none"), mean_iou(*both, num_classes=3, per_class=True)
    torch.testing.assert_close(tversky_index(p, y, 0.5, 0.5, 0.0), dice[0])
    torch.testing.assert_close(tversky_index(p, y, 1.0, 1.0, 0.0), jaccard[0])


def test_limits():
    y = torch.eye(3)[[0, 1, 2, 0]]
    assert tversky_loss(y * 1000, y, 0.3, 0.7).item() == 0
    wrong = tversky_loss(y.roll(1, 1) * 1000, y, 0.3, 0.7, 1e-6).item()
    assert wrong == pytest.approx(1, abs=1e-5)


def test_false_negatives_cost_beta_and_false_positives_alpha():
    y = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5)
    missed = y.clone()
    missed[0] = torch.tensor([0.0, 1.0])  # one of class 0 is missed, a false positive of class 1
    index = tversky_index(missed, y, 0.0, 1.0, 0.0)
    torch.testing.assert_close(index, torch.tensor([4 / 5, 1.0]))
    index = tversky_index(missed, y, 1.0, 0.0, 0.0)
    torch.testing.assert_close(index, torch.tensor([1.0, 5 / 6]))


def test_a_class_that_nobody_has_or_says_costs_nothing():
    y = torch.eye(3)[[0, 0, 1]]
    assert tversky_index(y, y, 0.3, 0.7)[2] == 1


def test_reaches_the_run(tiny_model, tiny_data, trainer):
    steps = SeenSteps()
    trainer(callbacks=[Tversky(0.2, 0.6, 2.0), steps], max_epochs=1).fit(tiny_model, tiny_data)
    for step in steps.steps:
        torch.testing.assert_close(step.loss, tversky_loss(step.logits, step.targets, 0.2, 0.6, 2.0))


@pytest.mark.parametrize("arguments", [{"alpha": -1}, {"beta": -1}, {"smooth": 0}])
def test_refusals(arguments):
    with pytest.raises(ValueError, match=f"{[*arguments][0]} must be"):
        Tversky(**arguments)
    with pytest.raises(ValueError, match="nothing costs"):
        Tversky(0, 0)
