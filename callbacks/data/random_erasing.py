"""Random Erasing: replace a random rectangle of some images by noise.

Paper:    Random Erasing Data Augmentation (Zhong, Zheng, Kang, Li, Yang; AAAI 2020)
          https://arxiv.org/abs/1708.04896, algorithm 1
Code:     https://github.com/zhunzhong07/Random-Erasing (the authors'), timm/data/random_erasing.py
Equation: with probability p, x' = noise in a rectangle of h = round(sqrt(a r)) by w = round(sqrt(a / r)) px, else x.
          Area a ~ U[scale] H W and aspect ratio r ~ U[r1, 1 / r1] are drawn until h < H and w < W; the position is
          uniform. All is drawn for each image
Shapes:   images (N, C, H, W) -> same;  targets unchanged
Defaults: p = .5, scale = (.02, .4), r1 = .3, fill = "random", formulation = "paper": the paper's. DeiT and ConvNeXt:
          RandomErasing(0.25, (0.02, 1 / 3), formulation="timm")
Differs:  noise is standard normal for each pixel and channel of the normalised image (timm's "pixel"); the paper draws
          bytes from U[0, 255]. Ten tries, as in timm; the authors have 100. If no try fits, nothing is erased.
"""

import math

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.boxes import boxes
from callbacks.frame.needs import Choice, Range
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.send import send
from callbacks.frame.trick import Trick

TRIES = 10


def aspect_ratio(u: Tensor, r1: float, formulation: str) -> Tensor:
    """Turn uniform draws in [0, 1) into height / width in [r1, 1 / r1], uniform ("paper") or log-uniform ("timm")."""
    if formulation == "timm":
        return ((2 * u - 1) * -math.log(r1)).exp()
    return r1 + u * (1 / r1 - r1)


def first_fit(area: Tensor, ratio: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pick the first of T rectangles that is smaller than the image in both directions.

    Args:
        area: (N, T) in pixels.
        ratio: (N, T) height / width.
        size: H and W.

    Returns:
        Heights and widths (N,) in pixels; 0 where no try fits.
    """
    height, width = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (height < size[0]) & (width < size[1])
    first = fits.int().argmax(1, keepdim=True)
    found = fits.gather(1, first)
    return (height.gather(1, first) * found)[:, 0], (width.gather(1, first) * found)[:, 0]


def random_erasing(
    images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, noise: Tensor | None
) -> Tensor:
    """Replace one rectangle of each image by noise, as in the equation above.

    Args:
        images: (N, C, H, W); not changed.
        top, left, height, width: (N,) the rectangles, in pixels; a height of 0 erases nothing.
        noise: one number for each erased value, image after image; None: 0.
    """
    box = boxes(top, left, height, width, (images.shape[2], images.shape[3]))
    erased = images.clone()  # keeps the memory format
    return erased.masked_fill_(box, 0) if noise is None else erased.masked_scatter_(box, noise)


class RandomErasing(Trick):
    """Erase a rectangle of training images, on the batch's device. Works on any LightningModule.

    List it before tricks that mix images, as DeiT does.

    Args:
        p: probability that an image is changed, in (0, 1], or a `Schedule`.
        scale: least and largest area of the rectangle, as fractions of the image.
        r1: smallest aspect ratio, in (0, 1]; the largest is 1 / r1.
        fill: "random" for noise, or "mean" for 0, the mean colour of normalised data.
        formulation: of the aspect ratio. "paper": uniform, so that most rectangles are taller than wide; "timm":
            log-uniform, so that tall and wide ones are equally probable (as in torchvision).

    Raises:
        ValueError: if an argument is out of its range.
    """

    changes_batch = True
    takes_boxes = True
    needs = (
        Range("p", 0, 1, off_at_low=True),
        Range("r1", 0, 1, open_low=True),
        Choice("fill", ("random", "mean")),
        Choice("formulation", ("paper", "timm")),
    )
    examples = ({"p": 0.25, "scale": (0.02, 0.33), "r1": 0.4, "fill": "mean", "formulation": "timm"},)

    def __init__(
        self,
        p: Rate = 0.5,
        scale: tuple[float, float] = (0.02, 0.4),
        r1: float = 0.3,
        fill: str = "random",
        formulation: str = "paper",
    ):
        if not 0 <= scale[0] <= scale[1] <= 1 or scale[1] == 0:
            raise ValueError(f"RandomErasing: scale must be two fractions in [0, 1], the smaller first, got {scale}")
        self.p, self.scale, self.r1, self.fill, self.formulation = p, tuple(scale), r1, fill, formulation

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images = batch[0]
        n, channels, H, W = images.shape
        # drawn on the CPU, so that the number of erased values is known without waiting for the device
        chosen, u, position = torch.rand(n) < rate_now(self.p, trainer), torch.rand(2, n, TRIES), torch.rand(2, n)
        low, high = self.scale
        area = (low + (high - low) * u[0]) * H * W
        height, width = first_fit(area, aspect_ratio(u[1], self.r1, self.formulation), (H, W))
        height = height * chosen
        top, left = (position[0] * (H - height + 1)).long(), (position[1] * (W - width + 1)).long()
        erased = channels * int((height * width).sum())
        noise = torch.randn(erased, dtype=images.dtype, device=images.device) if self.fill == "random" else None
        top, left, height, width = send(torch.stack([top, left, height, width]), images.device)
        batch[0] = random_erasing(images, top, left, height, width, noise)
