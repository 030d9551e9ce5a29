"""CutMix: paste a box of one image into another, and mix the labels by area.

Paper:    CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features (Yun et al.; ICCV 2019)
          https://arxiv.org/abs/1905.04899, equations 1 and 2
Code:     https://github.com/clovaai/CutMix-PyTorch (the authors')
Equation: x' = M x + (1 - M) x[perm]          M = 0 in a box of H sqrt(1 - lam) by W sqrt(1 - lam) px, clipped at the
          y' = lam y + (1 - lam) y[perm]      border, else 1; its centre is uniform over the pixels. One
                                              lam ~ Beta(alpha, alpha) per batch, then set to the mean of M
Shapes:   images (N, C, H, W) -> same;  targets (N,) class indices or (N, K) probabilities -> (N, K)
Defaults: alpha = 1 (section 3.1); p = 1 (the authors' command for ImageNet; .5 for CIFAR)
Differs:  the authors mix the two losses; we mix the targets, which gives the same number. Where a side of the box is
          odd, their box and torchvision's are one pixel smaller; ours and timm's are not.
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

Box = tuple[int, int, int, int]  # top, bottom, left, right, in pixels


def box_at(lam: float, row: int, column: int, height: int, width: int) -> Box:
    """Return the box around a centre that covers the fraction 1 - lam of the image, clipped at the border.

    Args:
        lam: in [0, 1].
        row, column: the centre, in pixels.
        height, width: of the image, in pixels.
    """
    side = (1 - lam) ** 0.5
    h, w = int(height * side), int(width * side)
    top, left = row - h // 2, column - w // 2
    return max(top, 0), min(top + h, height), max(left, 0), min(left + w, width)


def cutmix(images: Tensor, targets: Tensor, box: Box, perm: Tensor) -> list[Tensor]:
    """Paste the box of images[perm] into the images, and mix the targets by area, as in the equation above.

    Args:
        images: (N, C, H, W); not changed.
        targets: probabilities (N, K).
        box: top, bottom, left and right of the pasted box, in pixels.
        perm: permutation of the batch, (N,).

    Returns:
        Images (N, C, H, W) and targets (N, K).
    """
    top, bottom, left, right = box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = shuffle(images[:, :, top:bottom, left:right], perm)
    lam = 1 - (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
    return [mixed, lam * targets + (1 - lam) * shuffle(targets, perm)]


class CutMix(Trick):
    """Mix training batches with probability p. Works on any LightningModule; evaluation is unchanged.

    Copy-paste (Ghiasi et al. 2021, https://arxiv.org/abs/2012.07177) pastes objects along their masks. Data sets for
    classification have no masks; with a box instead of a mask, copy-paste is CutMix.

    Args:
        alpha: parameter of the Beta distribution, > 0, or a `Schedule`. With 1, the area of the box is uniform.
        p: probability that a batch is mixed, in (0, 1], or a `Schedule`.

    Raises:
        ValueError: if an argument is out of its range.
    """

    changes_batch = True
    needs = (Range("alpha", 0, open_low=True), Range("p", 0, 1, off_at_low=True))
    examples = ({"alpha": Linear(1, 0.5), "p": 0.5},)
    needs_labels = True

    def __init__(self, alpha: Rate = 1.0, p: Rate = 1.0):
        self.alpha = alpha
        self.p = p

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        if torch.rand(()).item() >= rate_now(self.p, trainer):
            return
        images, targets = images_and_targets(batch)
        lam = draw_beta(rate_now(self.alpha, trainer))
        height, width = images.shape[-2:]
        row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
        perm = torch.randperm(len(images), device=images.device)
        targets = probabilities(targets, classes_of(model))
        batch[:] = cutmix(images, targets, box_at(lam, row, column, height, width), perm)
