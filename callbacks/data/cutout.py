"""Cutout: a square hole at a random place of each image.

Paper:    Improved Regularization of Convolutional Neural Networks with Cutout (DeVries, Taylor; 2017)
          https://arxiv.org/abs/1708.04552, section 3
Code:     https://github.com/uoguelph-mlrg/Cutout (the authors')
Equation: x' = 0 in rows r - L // 2 to r - L // 2 + L - 1 and the same columns around c, cut at the edge; x elsewhere;
          (r, c) uniform over the pixels, another for each image
Shapes:   images (N, C, H, W) -> same;  targets as they are
Defaults: L = half the shorter side: 16 px for CIFAR-10 (the authors'), 112 of 224 (PaddleClas for ImageNet). The
          authors have 8 px for CIFAR-100, 20 for SVHN. Always applied, one hole.
Differs:  the fill is 0 after normalisation, the data's mean colour, as the authors'. Their hole of an odd side is a
          pixel smaller.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.boxes import boxes
from callbacks.frame.trick import Trick


def cutout(images: Tensor, row: Tensor, column: Tensor, side: int) -> Tensor:
    """The equation above, with nothing random in it. `row` and `column` (N,) are the centres."""
    length = torch.tensor(side, device=images.device)
    hole = boxes(row - side // 2, column - side // 2, length, length, images.shape[-2:])
    return images * ~hole


class Cutout(Trick):
    """Cuts a hole into every training image, on the device where the batch is. Works on any LightningModule.

    Args:
        side: of the square: pixels, or a share of the image's shorter side in (0, 1], as a float.

    Raises:
        ValueError: for a side out of its range or, at the first batch, larger than the images.
    """

    def __init__(self, side: int | float = 0.5):
        if not (0 < side <= 1 if isinstance(side, float) else side >= 1):
            raise ValueError(f"Cutout: side must be at least 1 pixel, or a share in (0, 1] as a float, got {side}")
        self.side = side

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images = batch[0]
        height, width = images.shape[-2:]
        side = max(1, round(self.side * min(height, width))) if isinstance(self.side, float) else self.side
        if side > max(height, width):
            raise ValueError(f"Cutout: side={side} is larger than images of {height} x {width} pixels: lower it")
        u = torch.rand(2, len(images), device=images.device)
        batch[0] = cutout(images, (u[0] * height).long(), (u[1] * width).long(), side)
