"""Losses of boxes: the distance between predicted and true boxes. Functions for detectors, not a trick.

Paper:    smooth L1: Fast R-CNN (Girshick; ICCV 2015) https://arxiv.org/abs/1504.08083, equations 2 and 3
          IoU: UnitBox (Yu et al.; ACM MM 2016) https://arxiv.org/abs/1608.01471
          GIoU: Generalized Intersection over Union (Rezatofighi et al.; CVPR 2019) https://arxiv.org/abs/1902.09630
          DIoU, CIoU: Distance-IoU Loss (Zheng et al.; AAAI 2020) https://arxiv.org/abs/1911.08287
          CDIoU: Control Distance IoU and Control Distance IoU Loss Function (Chen, Miao; 2021)
          https://arxiv.org/abs/2103.11696
Code:     torch.nn.functional.smooth_l1_loss; torchvision.ops.{generalized,distance,complete}_box_iou_loss, used here;
          https://github.com/Alan-D-Chen/CDIoU-CDIoUloss at b3ddb92 (the CDIoU authors')
Equation: IoU = |A n B| / |A u B|;   GIoU = IoU - |C \\ (A u B)| / |C|,   C the smallest box around both
          DIoU = IoU - d^2 / c^2,   d between the centres, c the diagonal of C
          CIoU = DIoU - a v,   v = 4 / pi^2 (atan(w / h) - atan(w' / h'))^2,   a = v / (1 - IoU + v), without gradient
          r = (sum of the distances between the four pairs of corners) / (4 c);   CDIoU = IoU + lambda (1 - r)
          losses: 1 - score;   for IoU also -ln IoU;   L_CDIoU = one of these + r
Shapes:   boxes (N, 4) as x1, y1, x2, y2 with x1 < x2 and y1 < y2, others (N, 4) -> (N,)
Defaults: lambda = .001, L_CDIoU with GIoU (the authors' code, where .001 weighs the loss)
Differs:  r is divided by 4 c, as in the paper. The authors' code divides by 4 once more, and computes r from anchors
          instead of predictions, so that r has no gradient. torchvision adds 1e-7 to areas: give boxes in pixels, not
          in fractions of the image. IoU is bounded below by 1e-7 in -ln IoU, for boxes that do not overlap.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from zoo.frame.checks import validate_choice

LEAST = 1e-7  # bounds denominators and logarithms


def smooth_l1(boxes: Tensor, others: Tensor, beta: float = 1.0) -> Tensor:
    """Sum x^2 / (2 beta) where |x| < beta, else |x| - beta / 2, over coordinates: (N, 4), (N, 4) -> (N,), >= 0."""
    return F.smooth_l1_loss(boxes, others, reduction="none", beta=beta).sum(-1)


def area(boxes: Tensor) -> Tensor:
    """Return the areas (N,) of boxes (N, 4); 0 where x2 < x1 or y2 < y1."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of each pair, in [0, 1]; 0 for two points: (N, 4), (N, 4) -> (N,)."""
    low, high = torch.maximum(boxes, others), torch.minimum(boxes, others)
    both = area(torch.cat([low[..., :2], high[..., 2:]], -1))
    return both / (area(boxes) + area(others) - both).clamp(min=LEAST)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the GIoU of each pair, in (-1, 1]; negative if they are far apart: (N, 4), (N, 4) -> (N,)."""
    return 1 - generalized_box_iou_loss(boxes, others)


def diou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the DIoU of each pair, in (-1, 1]; the IoU if the centres are equal: (N, 4), (N, 4) -> (N,)."""
    return 1 - distance_box_iou_loss(boxes, others)


def ciou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the CIoU of each pair, in (-2, 1]; the DIoU for equal aspect ratios: (N, 4), (N, 4) -> (N,)."""
    return 1 - complete_box_iou_loss(boxes, others)


def corner_ratio(boxes: Tensor, others: Tensor) -> Tensor:
    """Return r of the equation above, in [0, 1); 0 for equal boxes: (N, 4), (N, 4) -> (N,)."""
    x1, y1, x2, y2 = (boxes - others).square().unbind(-1)
    squares = torch.stack([x1 + y1, x2 + y1, x1 + y2, x2 + y2], -1)
    distances = torch.where(squares > 0, squares, 1).sqrt() * (squares > 0)  # the gradient of sqrt at 0 is infinite
    low, high = torch.minimum(boxes, others), torch.maximum(boxes, others)
    diagonal = torch.linalg.vector_norm(high[..., 2:] - low[..., :2], dim=-1)
    return distances.sum(-1) / (4 * diagonal).clamp(min=LEAST)


def cdiou(boxes: Tensor, others: Tensor, weight: float = 0.001) -> Tensor:
    """Return the CDIoU of each pair, in [0, 1 + lambda]; `weight` is lambda: (N, 4), (N, 4) -> (N,)."""
    return iou(boxes, others) + weight * (1 - corner_ratio(boxes, others))


SCORES = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}


def box_loss(boxes: Tensor, others: Tensor, kind: str = "ciou") -> Tensor:
    """Return the loss of each pair, >= 0: (N, 4), (N, 4) -> (N,).

    Args:
        boxes, others: (N, 4).
        kind: "iou", "giou", "diou" or "ciou" for 1 - score, "log" for -ln IoU.

    Raises:
        ValueError: for another kind.
    """
    if validate_choice(kind, [*SCORES, "log"], "box_loss") == "log":
        return -iou(boxes, others).clamp(min=LEAST).log()
    return 1 - SCORES[kind](boxes, others)


def cdiou_loss(boxes: Tensor, others: Tensor, kind: str = "giou", weight: float = 1.0) -> Tensor:
    """Return `box_loss` of `kind` plus `weight` times r, >= 0; 0 for equal boxes: (N, 4), (N, 4) -> (N,)."""
    return box_loss(boxes, others, kind) + weight * corner_ratio(boxes, others)
