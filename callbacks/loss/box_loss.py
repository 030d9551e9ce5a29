"""Box loss: train a detector's boxes by another measure of how far a box is from the true one.

Paper:    Generalized Intersection over Union (Rezatofighi et al.; CVPR 2019) https://arxiv.org/abs/1902.09630
          Distance-IoU Loss (Zheng et al.; AAAI 2020) https://arxiv.org/abs/1911.08287, CIoU too
          Control Distance IoU (Chen, Miao; 2021) https://arxiv.org/abs/2103.11696
          Fast R-CNN (Girshick; ICCV 2015) https://arxiv.org/abs/1504.08083, smooth L1
Code:     torchvision.models.detection, whose FCOS has GIoU, whose RetinaNet has L1 of codes, or by `_loss_type` smooth
          L1, GIoU, DIoU, CIoU, and whose Faster R-CNN has smooth L1 of codes
Equation: L = L_class + ... + weight sum_i w_i l(b_i, t_i) over the boxes b_i that the head matched to true boxes t_i;
          w_i are the head's weights: 1 / (number of matches), or 1 / (regions) in Faster R-CNN
          l = 1 - GIoU, 1 - DIoU, 1 - CIoU, 1 - GIoU + r, or smooth L1 of the codes of b_i and t_i in the head's units
Shapes:   `step.extras["matches"]`: boxes, truth, codes, wanted (P, 4), weights (P,) -> scalar
Defaults: kind = "giou", weight = 1: torchvision's of FCOS; smooth L1 has beta = 1/9, torchvision's of Faster R-CNN
Differs:  only the head's loss of boxes is replaced, not that of Faster R-CNN's proposals. There a loss of IoU is far
          smaller than smooth L1 of codes: mmdetection weighs it by 10. In CIoU a box is at least .01 px wide and high,
          because its aspect ratio is NaN else.
"""

import torch
from torch import Tensor

from callbacks.frame.needs import Choice, Range
from callbacks.frame.pair_needs import Claims, NothingAddedBefore
from callbacks.frame.trick import Trick
from callbacks.loss.boxes import box_loss, cdiou_loss, smooth_l1
from zoo import Step
from zoo.layers.detection_heads import Matches

KINDS = ("smooth-l1", "giou", "diou", "ciou", "cdiou")
BETA, THIN = 1 / 9, 0.01  # of smooth L1; the least side of a box in CIoU, in pixels


def pair_losses(matches: Matches, kind: str) -> Tensor:
    """Return l of the equation above for each match, (P,), >= 0."""
    boxes, truth = matches.boxes, matches.truth
    if kind == "smooth-l1":
        return smooth_l1(matches.codes, matches.wanted, BETA)
    if kind == "cdiou":
        return cdiou_loss(boxes, truth)
    if kind == "ciou":
        low, high = boxes[:, :2], boxes[:, 2:]
        boxes = torch.cat([low, torch.maximum(high, low + THIN)], 1)
    return box_loss(boxes, truth, kind)


class BoxLoss(Trick):
    """Replace the loss of boxes of a `zoo.Detector`. Scores and the other losses of its head stay.

    Args:
        kind: "smooth-l1", "giou", "diou", "ciou" or "cdiou".
        weight: of the loss, > 0. Take about 10 for an IoU loss with head="faster-rcnn".

    Raises:
        ValueError: for another kind, a weight out of range, or after a trick that adds to the loss.
        TypeError: for a model without boxes.
    """

    needs_boxes = True
    needs = (
        Choice("kind", KINDS),
        Range("weight", 0, open_low=True),
        Claims("replace the loss of boxes"),
        NothingAddedBefore(),
    )
    examples = ({"kind": "ciou", "weight": 2.0},)

    def __init__(self, kind: str = "giou", weight: float = 1.0):
        self.kind, self.weight = kind, weight

    def on_loss(self, model: object, step: Step) -> None:
        losses, matches = step.extras["losses"], step.extras["matches"]
        losses[matches.term] = self.weight * (matches.weights * pair_losses(matches, self.kind)).sum()
        step.loss = sum(losses.values())
