"""Boxes: every score by hand and against torchvision, ranges, symmetries, gradients."""

import math

import pytest
import torch
from torchvision.ops import box_iou

from callbacks.loss.boxes import SCORES, box_loss, cdiou, cdiou_loss, ciou, corner_ratio, diou, giou, iou, smooth_l1

# 4 x 4 and, 2 to the right and 2 lower, 4 x 4: 4 in common, 28 covered; around both 6 x 6, diagonal^2 72
A, B = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[2.0, 2.0, 6.0, 6.0]])
FAR = torch.tensor([[10.0, 0.0, 14.0, 4.0]])  # 6 apart: around both 14 x 4
WIDE = torch.tensor([[0.0, 1.0, 4.0, 3.0]])  # in A, around the same centre


def close(value, expected):
    assert value.shape == (1,) and value.item() == pytest.approx(expected, abs=1e-6)


def test_by_hand():
    close(iou(A, B), 4 / 28)
    close(giou(A, B), 4 / 28 - 8 / 36)
    close(diou(A, B), 4 / 28 - 8 / 72)
    close(ciou(A, B), 4 / 28 - 8 / 72)  # of equal shape
    close(corner_ratio(A, B), 8**0.5 / 72**0.5)
    close(cdiou(A, B, 0.5), 4 / 28 + 0.5 * (1 - 1 / 3))


def test_apart_by_hand():
    close(iou(A, FAR), 0)
    close(giou(A, FAR), -(56 - 32) / 56)
    close(diou(A, FAR), -100 / (14**2 + 4**2))
    close(corner_ratio(A, FAR), 10 / 212**0.5)


def test_shape_by_hand():
    close(iou(A, WIDE), 0.5)
    close(diou(A, WIDE), 0.5)
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    close(ciou(A, WIDE), 0.5 - v * v / (0.5 + v))
    close(corner_ratio(A, WIDE), 1 / 32**0.5)


def test_losses_by_hand():
    close(box_loss(A, B, "log"), math.log(7))
    close(box_loss(A, B, "diou"), 1 - 4 / 28 + 8 / 72)
    close(cdiou_loss(A, B), 1 - 4 / 28 + 8 / 36 + 1 / 3)
    close(cdiou_loss(A, B, "iou", 0.5), 1 - 4 / 28 + 1 / 6)
    close(smooth_l1(A, B), 4 * 1.5)
    close(smooth_l1(A, A + 0.5), 4 * 0.125)
    close(smooth_l1(A, A + 0.5, beta=0.25), 4 * 0.375)


def random_boxes(n=300):
    torch.manual_seed(0)
    corners = 100 * torch.rand(2, n, 2, 2).sort(2).values
    corners[:, :, 1] += 1
    return corners.flatten(2).unbind(0)


def test_iou_is_torchvisions_diagonal():
    a, b = random_boxes()
    torch.testing.assert_close(iou(a, b), box_iou(a, b).diagonal())


@pytest.mark.parametrize("kind, least", [("iou", 0), ("giou", -1), ("diou", -1), ("ciou", -2)])
def test_ranges_symmetry_and_the_best(kind, least):
    a, b = random_boxes()
    score = SCORES[kind](a, b)
    assert score.min() >= least and score.max() <= 1
    torch.testing.assert_close(SCORES[kind](b, a), score)
    torch.testing.assert_close(SCORES[kind](3 * a, 3 * b), score, rtol=1e-4, atol=1e-5)  # independent of the unit
    torch.testing.assert_close(SCORES[kind](a, a), torch.ones(300), atol=1e-5, rtol=0)


def test_order_of_the_scores():
    a, b = random_boxes()
    assert (giou(a, b) <= iou(a, b) + 1e-5).all()
    assert (ciou(a, b) <= diou(a, b) + 1e-5).all() and (diou(a, b) <= iou(a, b) + 1e-5).all()


def test_corners_ratio():
    a, b = random_boxes()
    ratio = corner_ratio(a, b)
    assert (ratio > 0).all() and (ratio < 1).all()
    torch.testing.assert_close(corner_ratio(b, a), ratio)
    slow = [sum(math.dist((p[i], p[j]), (q[i], q[j])) for i in (0, 2) for j in (1, 3)) for p, q in pairs(a, b)]
    around = [math.dist((min(p[0], q[0]), min(p[1], q[1])), (max(p[2], q[2]), max(p[3], q[3]))) for p, q in pairs(a, b)]
    expected = [s / (4 * c) for s, c in zip(slow, around, strict=True)]
    assert ratio.tolist() == pytest.approx(expected, rel=1e-5)


def pairs(a, b):
    return list(zip(a.tolist(), b.tolist(), strict=True))


@pytest.mark.parametrize("kind", [*SCORES, "log", "cdiou", "smooth_l1"])
def test_slopes_are_finite_also_at_the_goal_and_far_from_it(kind):
    functions = {"cdiou": cdiou_loss, "smooth_l1": smooth_l1}
    loss = functions.get(kind, lambda x, y: box_loss(x, y, kind))
    for other in (A, B, FAR, WIDE):
        box = A.clone().requires_grad_()
        value = loss(box, other)
        value.sum().backward()
        assert value.isfinite().all() and (value >= -1e-6).all() and box.grad.isfinite().all()
    if kind in ("giou", "diou", "ciou", "cdiou"):  # those have a gradient if the boxes do not touch
        box = A.clone().requires_grad_()
        loss(box, FAR).sum().backward()
        assert box.grad.abs().max() > 0


def test_refuses_another_kind():
    with pytest.raises(ValueError, match="did you mean"):
        box_loss(A, B, "iuo")


@pytest.mark.parametrize("other", [[0.0, 0, 6, 7], [-3.0, -2, 4, 4], [0.0, -1, 5, 4], [-1.0, 0, 4, 9]])
def test_gradient_at_a_shared_corner_is_that_of_the_other_corners(other):
    """At distance 0 the distance has no gradient: the part of an equal corner must be 0, not NaN."""
    box, other = A[0].double().requires_grad_(), torch.tensor(other, dtype=torch.float64)
    (ours,) = torch.autograd.grad(corner_ratio(box[None], other[None]).sum(), box)
    corners = [torch.hypot(box[i] - other[i], box[j] - other[j]) for i in (0, 2) for j in (1, 3)]
    shared = [distance for distance in corners if distance == 0]
    low, high = torch.minimum(box, other)[:2], torch.maximum(box, other)[2:]
    rest = sum(distance for distance in corners if distance > 0) / (4 * torch.hypot(*(high - low)))
    assert len(shared) == 1
    torch.testing.assert_close(ours, torch.autograd.grad(rest, box)[0])
    for loss in (cdiou_loss, lambda a, b: -cdiou(a, b)):
        (gradient,) = torch.autograd.grad(loss(box[None], other[None]).sum(), box)
        assert gradient.isfinite().all() and gradient.abs().max() > 0
