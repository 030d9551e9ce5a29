"""Cutout: erase a square at a random position of each image.

Paper:    Improved Regularization of Convolutional Neural Networks with Cutout (DeVries, Taylor; 2017)
          https://arxiv.org/abs/1708.04552, section 3
Code:     https://github.com/uoguelph-mlrg/Cutout (the authors')
Equation: x' = 0 in rows r - L // 2 to r - L // 2 + L - 1 and the same columns around c, clipped at the border; else x.
          (r, c) is uniform over the pixels, drawn for each image
Shapes:   images (N, C, H, W) -> same;  targets unchanged
Defaults: side = .5 (L, half the shorter side): 16 px for CIFAR-10 (the authors'), 112 of 224 px (PaddleClas for
          ImageNet). The authors take 8 px for CIFAR-100 and 20 px for SVHN. Every image has one hole.
Differs:  the fill is 0 after normalisation, the mean colour of the data, as in the authors' code. There, a hole with an
          odd side is one pixel smaller.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.boxes import boxes
from callbacks.frame.trick import Trick


def cutout(images: Tensor, row: Tensor, column: Tensor, side: int) -> Tensor:
    """Erase a square from each image, as in the equation above.

    Args:
        images: (N, C, H, W); not changed.
        row, column: (N,) the centres, in pixels.
        side: L, in pixels.
    """
    length = row.new_full((), side)  # made on the device, where `torch.tensor` would copy it there and wait
    height, width = images.shape[-2:]
    hole = boxes(row - side // 2, column - side // 2, length, length, (height, width))
    return images * ~hole


class Cutout(Trick):
    """Erase a square from every training image, on the batch's device. Works on any LightningModule.

    Args:
        side: side of the square: an int in pixels, or a float in (0, 1], the fraction of the image's shorter side.

    Raises:
        ValueError: if the side is out of its range, or larger than the images (at the first batch).
    """

    examples = ({"side": 3},)
    changes_batch = True
    takes_boxes = True

    def __init__(self, side: int | float = 0.5):
        if not (0 < side <= 1 if isinstance(side, float) else side >= 1):
            raise ValueError(f"Cutout: side must be an int >= 1 (pixels) or a float in (0, 1] (fraction), got {side}")
        self.side = side

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images = batch[0]
        height, width = images.shape[-2:]
        side = max(1, round(self.side * min(height, width))) if isinstance(self.side, float) else self.side
        if side > max(height, width):
            raise ValueError(f"Cutout: side={side} is larger than images of {height} x {width} pixels: lower it")
        u = torch.rand(2, len(images), device=images.device)
        batch[0] = cutout(images, (u[0] * height).long(), (u[1] * width).long(), side)
