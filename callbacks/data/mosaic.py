"""Mosaic: join each image with three others in a 2 x 2 mosaic, and mix the labels by area.

Paper:    YOLOv4: Optimal Speed and Accuracy of Object Detection (Bochkovskiy, Wang, Liao; 2020)
          https://arxiv.org/abs/2004.10934, section 3.3; here as for the classifiers of its table 2
Code:     https://github.com/AlexeyAB/darknet, src/data.c, load_data_augment, mixup = 3 (the authors')
Equation: a point (r, c) cuts the image in four parts. x' = x in the upper left part, x[perm_1] in the upper right,
          x[perm_2] in the lower left, x[perm_3] in the lower right; no part is shifted.
          y' = sum_k s_k y_k,   s_k the fraction of the area of part k.
          r ~ U[.2, .8] H, c ~ U[.2, .8] W, drawn for each image
          of boxes: those of x[perm_k] are cut at part k, and go if less than .1 of the area or 2 px of a side is left
Shapes:   images (N, C, H, W) -> same;  targets (N,) class indices or (N, K) probabilities -> (N, K);
          boxes (n, 4) of each image -> (m, 4)
Defaults: margin = .2, p = .5 for each batch (the authors')
Differs:  the authors draw the three other images from the whole data set, we draw them from the batch. For detection,
          they and YOLOv5 also shift and rescale the four images; their classifier does not, nor do we.
"""

from dataclasses import replace
from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.objects import Objects, are_boxes, join, split, together
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.shuffle import shuffle
from callbacks.frame.targets import probabilities
from callbacks.frame.trick import Trick
from zoo.frame.batches import images_and_targets
from zoo.frame.checks import classes_of


def mosaic(images: Tensor, targets: Tensor, row: Tensor, column: Tensor, perms: list[Tensor]) -> list[Tensor]:
    """Join each image with three others, and mix the targets by area, as in the equation above.

    Args:
        images: (N, C, H, W); not changed.
        targets: probabilities (N, K).
        row, column: (N,) int64, the point: first row of the lower parts, first column of the right parts.
        perms: three permutations of the batch, (N,) each.

    Returns:
        Images (N, C, H, W) and targets (N, K).
    """
    height, width = images.shape[-2:]
    below = torch.arange(height, device=images.device)[:, None] >= row[:, None, None, None]
    right = torch.arange(width, device=images.device) >= column[:, None, None, None]
    patched, mixed = images * (~below & ~right), targets * (row * column / (height * width))[:, None]
    for part, perm in zip((~below & right, below & ~right, below & right), perms, strict=True):
        patched += shuffle(images, perm) * part  # `where` takes twice as long
        mixed += shuffle(targets, perm) * part.float().mean((1, 2, 3))[:, None]
    return [patched, mixed]


def mosaic_boxes(objects: Objects, row: Tensor, column: Tensor, perms: list[Tensor], size: tuple[int, int]) -> Objects:
    """Return the objects of the mosaics of images of H and W pixels; arguments as in `mosaic`."""
    height, width = (torch.full_like(row, side) for side in size)
    zero, everyone = torch.zeros_like(row), torch.arange(len(row), device=row.device)
    columns = [(zero, column), (column, width), (zero, column), (column, width)]
    rows = [(zero, row), (zero, row), (row, height), (row, height)]
    found = []
    for (left, right), (top, bottom), perm in zip(columns, rows, [everyone, *perms], strict=True):
        image = perm.argsort()[objects.image]  # image i gets the part of image perm[i]
        low, high = (torch.stack(pair, 1)[image].to(objects.boxes) for pair in ((left, top), (right, bottom)))
        found.append(replace(objects, image=image).cut(low, high))
    return together(*found)


class Mosaic(Trick):
    """Make mosaics of training batches, with probability p. Works on any LightningModule, and with boxes.

    Args:
        margin: least distance between point and border, as a fraction of the side, in [0, 0.5).
        p: probability that a batch is changed, in (0, 1], or a `Schedule`.

    Raises:
        ValueError: if an argument is out of its range.
    """

    changes_batch = takes_boxes = True
    needs = (
        Range("margin", 0, 0.5, open_high=True),
        Range("p", 0, 1, off_at_low=True),
    )
    examples = ({"margin": 0.0, "p": 1.0},)
    needs_labels = True

    def __init__(self, margin: float = 0.2, p: Rate = 0.5):
        self.margin, self.p = margin, p

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        if torch.rand(()).item() >= rate_now(self.p, trainer):
            return
        pair: Any = batch if are_boxes(batch[1]) else images_and_targets(batch)
        images, targets = pair
        points = self.margin + (1 - 2 * self.margin) * torch.rand(2, len(images), device=images.device)
        row, column = ((point * side).round().long() for point, side in zip(points, images.shape[-2:], strict=True))
        perms = [torch.randperm(len(images), device=images.device) for _ in range(3)]
        if are_boxes(targets):
            objects = mosaic_boxes(join(targets), row, column, perms, (images.shape[-2], images.shape[-1]))
            pixels = mosaic(images, images.new_ones(len(images), 1), row, column, perms)[0]
            batch[:] = [pixels, split(objects, len(images))]
            return
        batch[:] = mosaic(images, probabilities(targets, classes_of(model)), row, column, perms)
