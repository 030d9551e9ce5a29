"""RICAP: join random crops of four images, and mix their labels by area.

Paper:    Data Augmentation using Random Image Cropping and Patching for Deep CNNs (Takahashi, Matsubara, Uehara; 2018)
          https://arxiv.org/abs/1811.09030, section 3 and appendix
Code:     https://github.com/jackryo/ricap (the authors')
Equation: a cut at h = round(H b1) and w = round(W b2),   b1, b2 ~ Beta(beta, beta), gives four parts of h by w,
          h by W - w, H - h by w and H - h by W - w px. Part k of x' is a random crop of that size of x[perm_k];
          y' = sum_k W_k y[perm_k],   W_k the fraction of the area of part k.
          Cut, crop positions and the four permutations are drawn once per batch
Shapes:   images (N, C, H, W) -> same;  targets (N,) class indices or (N, K) probabilities -> (N, K)
Defaults: beta = .3, the authors' for CIFAR and ImageNet
Differs:  the authors mix the four losses; we mix the targets, which gives the same number.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.beta import draw_beta
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.shuffle import shuffle
from callbacks.frame.targets import probabilities
from callbacks.frame.trick import Trick
from zoo.frame.batches import images_and_targets
from zoo.frame.checks import classes_of


def quarters(row: int, column: int, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Return top, left, height and width in pixels of the four parts of an image cut at `row` and `column`."""
    return [
        (top, left, h, w)
        for top, h in ((0, row), (row, height - row))
        for left, w in ((0, column), (column, width - column))
    ]


def ricap(
    images: Tensor, targets: Tensor, cut: tuple[int, int], corners: list[tuple[int, int]], perms: list[Tensor]
) -> list[Tensor]:
    """Join four crops, and mix the targets by area, as in the equation above.

    Args:
        images: (N, C, H, W); not changed.
        targets: probabilities (N, K).
        cut: h and w, in pixels.
        corners: top and left of the four crops, in pixels.
        perms: four permutations of the batch, (N,) each.

    Returns:
        Images (N, C, H, W) and targets (N, K).
    """
    height, width = images.shape[-2:]
    patched, mixed = torch.empty_like(images), torch.zeros_like(targets)
    for (top, left, h, w), (y, x), perm in zip(quarters(*cut, height, width), corners, perms, strict=True):
        patched[:, :, top : top + h, left : left + w] = shuffle(images[:, :, y : y + h, x : x + w], perm)
        mixed += h * w / (height * width) * shuffle(targets, perm)
    return [patched, mixed]


class RICAP(Trick):
    """Join crops in every training batch. Works on any LightningModule; evaluation is unchanged.

    Args:
        beta: parameter of the Beta distribution, > 0, or a `Schedule`. Near 0, images stay almost whole; with 1, the
            position of the cut is uniform.

    Raises:
        ValueError: if beta is not positive.
    """

    changes_batch = True
    needs = (Range("beta", 0, open_low=True),)
    examples = ({"beta": Linear(0.3, 1)},)
    needs_labels = True

    def __init__(self, beta: Rate = 0.3):
        self.beta = beta

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images, targets = images_and_targets(batch)
        height, width = images.shape[-2:]
        beta = rate_now(self.beta, trainer)
        cut = round(height * draw_beta(beta)), round(width * draw_beta(beta))
        counts = [(height - h + 1, width - w + 1) for _, _, h, w in quarters(*cut, height, width)]  # of positions
        corners = [(int(torch.randint(y, ())), int(torch.randint(x, ()))) for y, x in counts]
        perms = [torch.randperm(len(images), device=images.device) for _ in counts]
        batch[:] = ricap(images, probabilities(targets, classes_of(model)), cut, corners, perms)
