"""Dice loss: by hand, the two forms of masks, torchmetrics' score of hard masks, and a run."""

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.segmentation import dice_score

from callbacks import Dice
from callbacks.loss.dice import dice_loss
from tests.callbacks.conftest import SeenSteps


def test_by_hand():
    p = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # class 0: 2 x .8 of 1.2 + 1;  class 1: 2 x .6 of .8 + 1
    torch.testing.assert_close(dice_loss(p.log(), y, 1e-9), 1 - torch.tensor([1.6 / 2.2, 1.2 / 1.8]).mean())
    smooth = torch.tensor([(1.6 + 2) / (2.2 + 2), (1.2 + 2) / (1.8 + 2)])  # s = 1, the default
    torch.testing.assert_close(dice_loss(p.log(), y), 1 - smooth.mean())
    assert Dice().smooth == 1


def masks(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, (4, 5, 6), generator=generator), torch.randint(3, (4, 5, 6), generator=generator)


@pytest.mark.parametrize("seed", [0, 7])
def test_on_hard_masks_it_is_torchmetrics_score(seed):
    predicted, true = masks(seed)
    z = F.one_hot(predicted, 3).movedim(-1, 1) * 1000.0
    p, y = (F.one_hot(mask, 3).movedim(-1, 1).transpose(0, 1).flatten(1).view(1, 3, -1) for mask in (predicted, true))
    score = dice_score(p.bool(), y.bool(), num_classes=3, average="none")[0]
    torch.testing.assert_close(dice_loss(z, true, 1e-9), 1 - score.mean())


def test_classes_and_probabilities_agree_and_pixels_count_like_images():
    predicted, true = masks(0)
    z = F.one_hot(predicted, 3).movedim(-1, 1) * 2.0
    y = F.one_hot(true, 3).movedim(-1, 1).float()
    torch.testing.assert_close(dice_loss(z, true), dice_loss(z, y))
    torch.testing.assert_close(dice_loss(z, true), dice_loss(z.movedim(1, -1).reshape(-1, 3), true.flatten()))


def test_reaches_the_run(tiny_model, tiny_data, trainer):
    steps = SeenSteps()
    trainer(callbacks=[Dice(0.5), steps], max_epochs=1).fit(tiny_model, tiny_data)
    for step in steps.steps:
        torch.testing.assert_close(step.loss, dice_loss(step.logits, step.targets, 0.5))


def test_refuses_a_wrong_smooth():
    with pytest.raises(ValueError, match="smooth must be"):
        Dice(0)
