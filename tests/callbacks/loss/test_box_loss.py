"""Box loss: torchvision's own losses again, by hand, no NaN, and the training of a detector."""

import pytest
import torch

from callbacks import L2, BoxLoss
from callbacks.loss.box_loss import KINDS, pair_losses
from tests.zoo.frame.test_detector import make, run
from zoo.layers.detection_heads import Matches

SAME = {"fcos": "giou", "faster-rcnn": "smooth-l1"}


@pytest.mark.parametrize("head", SAME)
def test_the_heads_own_loss_is_the_same_number(head, trainer):
    steps, _ = run(trainer, make(head), BoxLoss(SAME[head]))
    plain, _ = run(trainer, make(head))
    torch.testing.assert_close(steps[0].loss, plain[0].loss)
    torch.testing.assert_close(steps[1].loss, plain[1].loss, rtol=1e-3, atol=1e-3)  # after a step: the same gradient


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_retinanets_losses_by_its_switch_are_the_same(kind, trainer):
    model = make("retinanet")
    model.network.head.regression_head._loss_type = kind
    theirs, _ = run(trainer, model)
    ours, _ = run(trainer, make("retinanet"), BoxLoss(kind))
    torch.testing.assert_close(ours[0].loss, theirs[0].loss)


def pairs(boxes, truth):
    boxes = torch.tensor(boxes).requires_grad_()
    truth, zeros = torch.tensor(truth), torch.zeros(len(boxes), dtype=torch.int64)
    return Matches(boxes, truth, truth, zeros, zeros, boxes, truth, torch.ones(len(boxes)), "bbox_regression")


def test_by_hand():
    """A unit square beside one of 2 x 2 that holds it: IoU 1/4, one hull, centres sqrt(.5) apart, diagonal sqrt(8)."""
    found = pairs([[0.0, 0, 1, 1]], [[0.0, 0, 2, 2]])
    assert pair_losses(found, "giou").item() == pytest.approx(0.75)
    assert pair_losses(found, "diou").item() == pytest.approx(0.75 + 0.5 / 8)
    assert pair_losses(found, "ciou").item() == pytest.approx(0.75 + 0.5 / 8)  # the same aspect ratio
    corners = 0 + 1 + 1 + 2**0.5
    assert pair_losses(found, "cdiou").item() == pytest.approx(0.75 + corners / (4 * 8**0.5))
    assert pair_losses(found, "smooth-l1").item() == pytest.approx(2 * (1 - 1 / 18))


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_without_area_and_equal_ones_have_finite_slopes(kind):
    found = pairs([[1.0, 1, 1, 1], [1, 1, 4, 1], [0, 0, 2, 2], [5, 5, 6, 6]], [[0.0, 0, 2, 2]] * 4)
    losses = pair_losses(found, kind)
    losses.sum().backward()
    assert losses.isfinite().all() and found.boxes.grad.isfinite().all() and losses[2] == 0


def test_the_weight_is_of_the_boxes_alone(trainer):
    one, two = (run(trainer, make(), BoxLoss("diou", weight))[0][0] for weight in (1.0, 3.0))
    losses = one.extras["losses"]
    torch.testing.assert_close(two.loss - one.loss, 2 * losses["bbox_regression"])
    torch.testing.assert_close(one.loss, sum(losses.values()))


def test_it_stands_before_penalties(trainer):
    with pytest.raises(ValueError, match="BoxLoss replaces the loss to which L2 has added: list it before L2"):
        run(trainer, make(), L2(), BoxLoss())
