"""Mosaic: each image becomes a 2 x 2 mosaic with three others, and the labels are mixed by area.

Paper:    YOLOv4: Optimal Speed and Accuracy of Object Detection (Bochkovskiy, Wang, Liao; 2020)
          https://arxiv.org/abs/2004.10934, section 3.3; the form for classification of its table 2
Code:     https://github.com/AlexeyAB/darknet, src/data.c, load_data_augment, mixup = 3 (the authors')
Equation: x' = x left above a point (r, c), x[perm_1] right above, x[perm_2] left below, x[perm_3] right below, each
          in its own place; y' = sum_k s_k y_k, s_k the share of the area; r ~ U[.2, .8] H, c ~ U[.2, .8] W, another
          point for each image
Shapes:   images (N, C, H, W) -> same;  targets (N,) class indices or (N, K) probabilities -> (N, K)
Defaults: margin .2, p = .5 of the batches: the authors'
Differs:  the authors draw the three others from the whole data set, we from the batch. For detection they and YOLOv5
          shift and rescale the four; their classifier does not.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.chance import needs_chance
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.shuffled import shuffled
from callbacks.frame.targets import probabilities
from callbacks.frame.trick import Trick
from zoo.frame.checks import classes_of


def mosaic(images: Tensor, targets: Tensor, row: Tensor, column: Tensor, perms: list[Tensor]) -> list[Tensor]:
    """The equation above, with nothing random in it.

    Args:
        images: (N, C, H, W).
        targets: probabilities (N, K).
        row, column: (N,) int64, the first row below and the first column right of each image's point.
        perms: three permutations of the batch.
    """
    height, width = images.shape[-2:]
    below = torch.arange(height, device=images.device)[:, None] >= row[:, None, None, None]
    right = torch.arange(width, device=images.device) >= column[:, None, None, None]
    patched, mixed = images * (~below & ~right), targets * (row * column / (height * width))[:, None]
    for place, perm in zip((~below & right, below & ~right, below & right), perms, strict=True):
        patched += shuffled(images, perm) * place  # `where` takes twice as long
        mixed += shuffled(targets, perm) * place.float().mean((1, 2, 3))[:, None]
    return [patched, mixed]


class Mosaic(Trick):
    """Makes mosaics of training batches, each with probability p. Evaluation is untouched. Any LightningModule.

    Args:
        margin: the point keeps this share of the side from the edges, in [0, .5).
        p: probability that a batch is changed, in (0, 1], or a `Schedule`.

    Raises:
        ValueError: for an argument out of its range.
    """

    needs_labels = True

    def __init__(self, margin: float = 0.2, p: Rate = 0.5):
        if not 0 <= margin < 0.5:
            raise ValueError(f"Mosaic: margin must be in [0, 0.5), got {margin}")
        needs_chance(self, "p", p)
        self.margin, self.p = margin, p

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        if torch.rand(()).item() >= rate_now(self.p, trainer):
            return
        images, targets = batch
        points = self.margin + (1 - 2 * self.margin) * torch.rand(2, len(images), device=images.device)
        row, column = ((share * n).round().long() for share, n in zip(points, images.shape[-2:], strict=True))
        perms = [torch.randperm(len(images), device=images.device) for _ in range(3)]
        batch[:] = mosaic(images, probabilities(targets, classes_of(model)), row, column, perms)
