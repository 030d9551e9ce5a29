"""Losses of boxes: how far a box is from the one it should be. Functions, for detectors; no trick.

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
          r = (the sum of the distances of the four corners to theirs) / (4 c);   CDIoU = IoU + lambda (1 - r)
          losses: 1 - score, IoU's also -ln IoU;   L_CDIoU = one of these + r
Shapes:   boxes (N, 4) as x1, y1, x2, y2 with x1 < x2 and y1 < y2, and as many others -> (N,)
Defaults: lambda = .001, L_CDIoU over GIoU (the authors' code, where .001 weighs the loss)
Differs:  a corner's distances are divided as in the paper; the authors' code has a further 4, and takes anchors for
          predictions, so that its term has no slope. torchvision adds 1e-7 to areas: give boxes in pixels, not in
          shares of the image. -ln IoU ends at IoU = 1e-7, where the boxes part.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from zoo.frame.checks import validate_choice

LEAST = 1e-7


def smooth_l1(boxes: Tensor, others: Tensor, beta: float = 1.0) -> Tensor:
    """Sum over coordinates of x^2 / (2 beta) where |x| < beta, else |x| - beta / 2: (N, 4) -> (N,), >= 0."""
    return F.smooth_l1_loss(boxes, others, reduction="none", beta=beta).sum(-1)


def area(boxes: Tensor) -> Tensor:
    """(N, 4) -> (N,); 0 where the second corner is before the first."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Of each box with its other, in [0, 1], 0 for two points: (N, 4), (N, 4) -> (N,)."""
    low, high = torch.maximum(boxes, others), torch.minimum(boxes, others)
    both = area(torch.cat([low[..., :2], high[..., 2:]], -1))
    return both / (area(boxes) + area(others) - both).clamp(min=LEAST)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """In (-1, 1], negative where they are far apart: (N, 4), (N, 4) -> (N,)."""
    return 1 - generalized_box_iou_loss(boxes, others)


def diou(boxes: Tensor, others: Tensor) -> Tensor:
    """In (-1, 1], IoU where the centres agree: (N, 4), (N, 4) -> (N,)."""
    return 1 - distance_box_iou_loss(boxes, others)


def ciou(boxes: Tensor, others: Tensor) -> Tensor:
    """In (-2, 1], DIoU where the boxes are of one shape: (N, 4), (N, 4) -> (N,)."""
    return 1 - complete_box_iou_loss(boxes, others)


def corner_ratio(boxes: Tensor, others: Tensor) -> Tensor:
    """r of the equation above, in [0, 1), 0 for equal boxes: (N, 4), (N, 4) -> (N,)."""
    gaps = (boxes - others).square()
    x1, y1, x2, y2 = gaps.unbind(-1)
    corners = torch.stack([x1 + y1, x2 + y1, x1 + y2, x2 + y2], -1)
    apart = torch.where(corners > 0, corners, 1).sqrt() * (corners > 0)  # the root has no slope at 0
    low, high = torch.minimum(boxes, others), torch.maximum(boxes, others)
    diagonal = torch.linalg.vector_norm(high[..., 2:] - low[..., :2], dim=-1)
    return apart.sum(-1) / (4 * diagonal).clamp(min=LEAST)


def cdiou(boxes: Tensor, others: Tensor, weight: float = 0.001) -> Tensor:
    """The score, in [0, 1 + lambda]; `weight` is lambda: (N, 4), (N, 4) -> (N,)."""
    return iou(boxes, others) + weight * (1 - corner_ratio(boxes, others))


SCORES = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}


def box_loss(boxes: Tensor, others: Tensor, kind: str = "ciou") -> Tensor:
    """1 - score of `kind` "iou", "giou", "diou", "ciou"; "log": -ln IoU. (N, 4), (N, 4) -> (N,), >= 0."""
    if validate_choice(kind, [*SCORES, "log"], "box_loss") == "log":
        return -iou(boxes, others).clamp(min=LEAST).log()
    return 1 - SCORES[kind](boxes, others)


def cdiou_loss(boxes: Tensor, others: Tensor, kind: str = "giou", weight: float = 1.0) -> Tensor:
    """`box_loss` of `kind` plus weight times r: (N, 4), (N, 4) -> (N,), >= 0, 0 for equal boxes."""
    return box_loss(boxes, others, kind) + weight * corner_ratio(boxes, others)
