"""Box crop: train on a random part of each image, enlarged to the image's size, with the boxes in it.

Paper:    SSD: Single Shot MultiBox Detector (Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg; ECCV 2016)
          https://arxiv.org/abs/1512.02325, section 2.2, data augmentation
Code:     torchvision v2.RandomIoUCrop
Equation: a part of width u_1 W and height u_2 H, u ~ U(scale, 1) with u_1 / u_2 in [1/2, 2], anywhere in the image;
          an object stays if its centre is inside;  (x, y)' = ((x - left) / u_1, (y - top) / u_2), cut at the border
Shapes:   images (N, C, H, W) -> same;  boxes (n, 4) of each image -> (m, 4), m <= n
Defaults: scale = .3, p = .5, ours; the paper's smallest part has .1 of the area, and a third of its images stay whole
Differs:  the paper also asks for parts of a given IoU with an object, up to 50 draws; ours is one draw, and an image
          that would lose all its objects stays whole. The aspect ratio is bounded by narrowing the longer side.
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.objects import Objects, join, split
from callbacks.frame.trick import Trick


def crop(images: Tensor, objects: Objects, corner: Tensor, size: Tensor) -> tuple[Tensor, Objects]:
    """Cut a part out of each image, and enlarge it to the image's size.

    Args:
        images: (N, C, H, W).
        objects: of them.
        corner, size: (N, 2), left and top, width and height of the part as fractions of the image, in [0, 1].
    """
    theta = torch.zeros(len(images), 2, 3, device=images.device)
    theta[:, 0, 0], theta[:, 1, 1] = size.T
    theta[:, :, 2] = 2 * corner + size - 1
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    parts = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False).to(images.dtype)
    whole = objects.boxes.new_tensor(images.shape[-2:]).flip(0)  # W, H
    low, side = corner[objects.image] * whole, size[objects.image]
    moved = (objects.boxes.unflatten(1, (2, 2)) - low[:, None]) / side[:, None]
    centre = moved.mean(1)
    inside = ((centre > 0) & (centre < whole)).all(1)
    found = Objects(moved.flatten(1), objects.image, objects.more).at(inside)
    return parts, found.cut(torch.zeros_like(whole), whole)


def draw_parts(u: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return corner and size (N, 2) of parts as fractions, from draws (N, 4) in [0, 1)."""
    size = scale + (1 - scale) * u[:, :2]
    size = torch.minimum(size, 2 * size.flip(1))
    return u[:, 2:] * (1 - size), size


class BoxCrop(Trick):
    """Train on parts of the images, each with probability p, with the objects whose centre is inside.

    Args:
        scale: the least width and height of a part, as fractions of the image's, in (0, 1).
        p: in (0, 1].

    Raises:
        ValueError: if an argument is out of its range.
        TypeError: for a model without boxes.
    """

    changes_batch = needs_boxes = True
    needs = (Range("scale", 0, 1, open_low=True, open_high=True), Range("p", 0, 1, open_low=True))
    examples = ({"scale": 0.6, "p": 1.0},)

    def __init__(self, scale: float = 0.3, p: float = 0.5):
        self.scale, self.p = scale, p

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images, targets = batch
        u = torch.rand(len(images), 5, device=images.device)
        corner, size = draw_parts(u[:, :4], self.scale)
        parts, found = crop(images, objects := join(targets), corner, size)
        counts = [part.image.bincount(minlength=len(images)) for part in (objects, found)]
        changed = (u[:, 4] < self.p) & ((counts[1] > 0) | (counts[0] == 0))
        images = torch.where(changed[:, None, None, None], parts, images)
        both = zip(split(found, len(images)), targets, changed.tolist(), strict=True)
        batch[:] = [images, [new if turned else old for new, old, turned in both]]
