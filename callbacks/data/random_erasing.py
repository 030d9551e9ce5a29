"""Random Erasing: a random rectangle of some images becomes noise.

Paper:    Random Erasing Data Augmentation (Zhong, Zheng, Kang, Li, Yang; AAAI 2020)
          https://arxiv.org/abs/1708.04896, algorithm 1
Code:     https://github.com/zhunzhong07/Random-Erasing (the authors'), timm/data/random_erasing.py
Equation: x' = noise in a rectangle of h = round(sqrt(a r)) by w = round(sqrt(a / r)) px, x elsewhere; area
          a ~ U[scale] H W, aspect ratio r ~ U[r1, 1 / r1]; drawn again until h < H and w < W; its place uniform;
          each image with probability p and draws of its own
Shapes:   images (N, C, H, W) -> same;  targets as they are
Defaults: p = .5, scale .02 to .4, r1 = .3, noise: the paper's. DeiT and ConvNeXt:
          RandomErasing(0.25, (0.02, 1 / 3), reading="timm")
Differs:  noise is a standard normal draw for each pixel and colour of the normalised image (timm's "pixel"); the paper
          draws bytes from U[0, 255]. Ten tries as in timm, the authors have 100; where none fits, nothing is erased.
"""

import math

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.boxes import boxes
from callbacks.frame.chance import needs_chance
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.trick import Trick, needs_range

TRIES = 10


def aspect_ratio(u: Tensor, r1: float, reading: str) -> Tensor:
    """Uniform draws in [0, 1) -> height over width in [r1, 1 / r1]; "timm": uniform in its logarithm."""
    if reading == "timm":
        return ((2 * u - 1) * -math.log(r1)).exp()
    return r1 + u * (1 / r1 - r1)


def first_fit(area: Tensor, ratio: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Heights and widths (N,) of the first of T tries that is smaller than the image both ways; 0 if none is.

    Args:
        area: (N, T) in pixels.
        ratio: (N, T) height over width.
        size: H and W.
    """
    height, width = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (height < size[0]) & (width < size[1])
    first = fits.int().argmax(1, keepdim=True)
    found = fits.gather(1, first)
    return (height.gather(1, first) * found)[:, 0], (width.gather(1, first) * found)[:, 0]


def random_erasing(
    images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, noise: Tensor | None
) -> Tensor:
    """The equation above for rectangles (N,) of pixels, with nothing random in it.

    `noise` has a number for every value that is erased, one image after the other; without it, 0.
    """
    box = boxes(top, left, height, width, images.shape[-2:])
    erased = images.clone()  # keeps its layout
    return erased.masked_fill_(box, 0) if noise is None else erased.masked_scatter_(box, noise)


class RandomErasing(Trick):
    """Erases a rectangle of training images, on the device where the batch is. Works on any LightningModule.

    List it before tricks that mix images, as DeiT does.

    Args:
        p: probability that an image is erased, in (0, 1], or a `Schedule`.
        scale: the rectangle's share of the image, from and to.
        r1: the smallest aspect ratio, in (0, 1]; the largest is 1 / r1.
        fill: "random" for noise, or "mean" for the data's mean colour, which is 0.
        reading: "paper": the aspect ratio is uniform, so that most rectangles are upright; "timm": its logarithm is,
            so that as many lie as stand (torchvision's, too).

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(
        self,
        p: Rate = 0.5,
        scale: tuple[float, float] = (0.02, 0.4),
        r1: float = 0.3,
        fill: str = "random",
        reading: str = "paper",
    ):
        needs_chance(self, "p", p)
        needs_range(self, "r1", r1, 0, 1, open_low=True)
        if not 0 <= scale[0] <= scale[1] <= 1 or scale[1] == 0:
            raise ValueError(f"RandomErasing: scale must be two shares in [0, 1], the smaller first, got {scale}")
        if fill not in ("random", "mean"):
            raise ValueError(f'RandomErasing: fill must be "random" or "mean", got {fill!r}')
        if reading not in ("paper", "timm"):
            raise ValueError(f'RandomErasing: reading must be "paper" or "timm", got {reading!r}')
        self.p, self.scale, self.r1, self.fill, self.reading = p, tuple(scale), r1, fill, reading

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images = batch[0]
        n, channels, *size = images.shape
        # drawn on the processor: how many values are erased is known without asking the device
        chosen, u, place = torch.rand(n) < rate_now(self.p, trainer), torch.rand(2, n, TRIES), torch.rand(2, n)
        low, high = self.scale
        area = (low + (high - low) * u[0]) * size[0] * size[1]
        height, width = first_fit(area, aspect_ratio(u[1], self.r1, self.reading), size)
        height = height * chosen
        top, left = (place[0] * (size[0] - height + 1)).long(), (place[1] * (size[1] - width + 1)).long()
        erased = channels * int((height * width).sum())
        noise = torch.randn(erased, dtype=images.dtype, device=images.device) if self.fill == "random" else None
        rectangle = (v.to(images.device) for v in (top, left, height, width))
        batch[0] = random_erasing(images, *rectangle, noise)
