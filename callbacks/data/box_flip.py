"""Box flip: turn images with boxes left to right.

Paper:    Fast R-CNN (Girshick; ICCV 2015) https://arxiv.org/abs/1504.08083, section 2.3: its only augmentation
Code:     torchvision v2.RandomHorizontalFlip
Equation: x'(r, c) = x(r, W - 1 - c),   (x1, y1, x2, y2)' = (W - x2, y1, W - x1, y2),   for each image with
          probability p
Shapes:   images (N, C, H, W) -> same;  boxes (n, 4) of each image -> same
Defaults: p = .5, the paper's
Differs:  nothing
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.objects import Objects, join, split
from callbacks.frame.trick import Trick


def flip(images: Tensor, objects: Objects, turned: Tensor) -> tuple[Tensor, Objects]:
    """Turn the images where `turned`, bool (N,), and their boxes."""
    x1, y1, x2, y2 = objects.boxes.unbind(1)
    width = images.shape[-1]
    mirrored = torch.stack([width - x2, y1, width - x1, y2], 1)
    boxes = torch.where(turned[objects.image, None], mirrored, objects.boxes)
    return torch.where(turned[:, None, None, None], images.flip(-1), images), Objects(
        boxes, objects.image, objects.more
    )


class BoxFlip(Trick):
    """Turn training images and their boxes left to right, each with probability p.

    Args:
        p: in (0, 1].

    Raises:
        ValueError: if p is out of its range.
        TypeError: for a model without boxes.
    """

    changes_batch = needs_boxes = True
    needs = (Range("p", 0, 1, open_low=True),)
    examples = ({"p": 1.0},)

    def __init__(self, p: float = 0.5):
        self.p = p

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images, targets = batch
        turned = torch.rand(len(images), device=images.device) < self.p
        images, objects = flip(images, join(targets), turned)
        batch[:] = [images, split(objects, len(images), [len(target["boxes"]) for target in targets])]
