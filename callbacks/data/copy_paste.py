"""Copy-paste: paste some objects of another image over an image.

Paper:    Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation (Ghiasi, Cui, Srinivas, Qian,
          Lin, Cubuk, Le, Zoph; CVPR 2021) https://arxiv.org/abs/2012.07177, section 3
Code:     mmdetection CopyPaste, with paste_by_box
Equation: x' = x[perm] a + x (1 - a),   a the union of a random subset of the objects of x[perm];
          objects of x keep the smallest box around what a leaves of them; those with less than .1 of it go
Shapes:   images (N, C, H, W) -> same;  boxes (n, 4) of each image -> (m, 4)
Defaults: p = .5, the share of the other image's objects that are pasted: ours
Differs:  the paper pastes masks, and we rectangles, as there are only boxes. The other image is of the batch, and is
          neither flipped nor scaled: list `BoxFlip` and `BoxCrop` before. Edges are not blended, which the paper found
          to make no difference.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.objects import SHARE, Objects, join, split, together
from callbacks.frame.shuffle import shuffle
from callbacks.frame.trick import Trick


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which pixels have their centre in a box: (M, 4) -> bool (M, H, W)."""
    rows, columns = (torch.arange(side, device=boxes.device) + 0.5 for side in size)
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    return ((rows >= y1) & (rows < y2))[:, :, None] & ((columns >= x1) & (columns < x2))[:, None]


def what_is_left(objects: Objects, covered: Tensor) -> Objects:
    """Shrink each box to what a mask of its image leaves of it, and drop it where that is less than a tenth.

    Args:
        objects: of the images.
        covered: bool (N, H, W).
    """
    whole = inside(objects.boxes, (covered.shape[1], covered.shape[2]))
    seen = whole & ~covered[objects.image]
    low, high = [], []
    for line in (seen.any(1), seen.any(2)):  # columns, rows
        low.append(line.byte().argmax(1))
        high.append(line.shape[1] - line.flip(1).byte().argmax(1))
    tight = torch.stack([*low, *high], 1).to(objects.boxes)
    touched = (seen != whole).flatten(1).any(1)
    boxes = torch.where(touched[:, None], tight, objects.boxes)
    keep = ~touched | (seen.sum((1, 2)) >= SHARE * whole.sum((1, 2)))
    return Objects(boxes, objects.image, objects.more).at(keep & (seen.flatten(1).any(1) | ~touched))


def copy_paste(images: Tensor, objects: Objects, perm: Tensor, chosen: Tensor) -> tuple[Tensor, Objects]:
    """Paste the chosen objects, bool (M,), of image perm[i] over image i."""
    pasted = objects.at(chosen)
    to = perm.argsort()[pasted.image]  # image i gets those of image perm[i]
    pasted = Objects(pasted.boxes, to, pasted.more)
    covered = torch.zeros(len(images), *images.shape[-2:], device=images.device)
    covered.index_add_(0, to, inside(pasted.boxes, (images.shape[-2], images.shape[-1])).float())
    mixed = torch.where((covered > 0)[:, None], shuffle(images, perm), images)
    return mixed, together(what_is_left(objects, covered > 0), pasted)


class CopyPaste(Trick):
    """Paste objects of other images of the batch over every training image.

    Args:
        p: share of an image's objects that are pasted over another, in (0, 1]; each is drawn by itself.

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
        images, objects = batch[0], join(batch[1])
        perm = torch.randperm(len(images), device=images.device)
        chosen = torch.rand(len(objects.boxes), device=images.device) < self.p
        chosen &= perm[objects.image] != objects.image  # an image is not pasted over itself
        images, objects = copy_paste(images, objects, perm, chosen)
        batch[:] = [images, split(objects, len(images))]
