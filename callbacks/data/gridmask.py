"""GridMask: erases a regular grid of squares from images, turned by a random angle.

Paper:    GridMask Data Augmentation (Chen, Liu, Zhao, Jia; 2020)
          https://arxiv.org/abs/2001.04086, section 3
Code:     https://github.com/dvlab-research/GridMask (the authors', `imagenet_grid`)
Equation: x' = M x; M = 1 on stripes of width l = ceil(ratio d), one every d px along both axes of a grid turned around
          the image's middle, and 0 on the squares between (mode 1; mode 0 is the opposite). d ~ U{d1, ..., d2 - 1},
          the two phases ~ U{0, ..., d - 1}, the angle ~ U{0, ..., rotate - 1} degrees, others for each image
Shapes:   images (N, C, H, W) -> same;  targets as they are
Defaults: d1 = 96 and d2 = 224 px for images of 224 px, here as shares of the shorter side; ratio = .6, rotate = 360,
          mode 1; p grows from 0 to .8 over the first 240 of 300 epochs: the authors' for ImageNet
Differs:  the fill is 0 after normalisation, the data's mean colour, as the authors'. Their p grows by epochs, ours by
          steps. They draw a mask on the image's diagonal and turn that; here each pixel's place in the grid is
          computed, which is the same but for rounding.
"""

import math

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.chance import chosen, needs_chance
from callbacks.frame.schedule import Linear, Rate
from callbacks.frame.trick import Trick, needs_range

RAMP = Linear(0.0, 0.8, until="0.8dur")


def stripes(period: Tensor, thickness: Tensor, phases: Tensor, degrees: Tensor, size: tuple[int, int]) -> Tensor:
    """Where the stripes are: bool (N, 1, H, W).

    Args:
        period, thickness: (N,) of the stripes, in pixels.
        phases: (2, N) where the first horizontal and the first vertical stripe begin, from the upper left corner of a
            square that has the image in its middle and the image's diagonal, rounded up, as its side.
        degrees: (N,) counter-clockwise around the middle.
        size: H and W.
    """
    side = math.ceil(math.hypot(*size))
    y, x = ((torch.arange(n, device=period.device) + (side - n) // 2 + 0.5 - side / 2) for n in size)  # from the middle
    cos, sin = (f(torch.deg2rad(degrees.float()))[:, None, None] for f in (torch.cos, torch.sin))
    row = (cos * y[:, None] + sin * x + side / 2).floor()
    column = (cos * x - sin * y[:, None] + side / 2).floor()
    period, thickness, up, left = (t[:, None, None] for t in (period, thickness, *phases))
    return (((row - up) % period < thickness) | ((column - left) % period < thickness))[:, None]


def in_pixels(length: int | float, side: int) -> int:
    """A share of a side as pixels; pixels as they are."""
    return max(1, round(length * side)) if isinstance(length, float) else length


class GridMask(Trick):
    """Erases a grid from training images, on the device where the batch is. Works on any LightningModule.

    Args:
        d1: the smallest period: pixels, or a share of the image's shorter side, as a float.
        d2: the period is less than this, likewise.
        ratio: thickness of the stripes, as a share of the period, in (0, 1].
        rotate: the angle in degrees is less than this; 1 for none.
        mode: 1 erases the squares, 0 the stripes.
        p: probability that an image is masked, in (0, 1], or a `Schedule`.

    Raises:
        ValueError: for an argument out of its range or, at the first batch, if no period is between d1 and d2.
    """

    def __init__(
        self,
        d1: int | float = 96 / 224,
        d2: int | float = 1.0,
        ratio: float = 0.6,
        rotate: int = 360,
        mode: int = 1,
        p: Rate = RAMP,
    ):
        needs_chance(self, "p", p)
        needs_range(self, "ratio", ratio, 0, 1, open_low=True)
        if type(d1) is not type(d2) or not 0 < d1 < d2:
            raise ValueError(f"GridMask: d1 and d2 must be both pixels or both shares, 0 < d1 < d2, got {d1} and {d2}")
        if rotate < 1 or mode not in (0, 1):
            raise ValueError(f"GridMask: rotate must be at least 1 and mode 0 or 1, got {rotate} and {mode}")
        self.d1, self.d2, self.ratio, self.rotate, self.mode, self.p = d1, d2, ratio, rotate, mode, p

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        images = batch[0]
        size = images.shape[-2:]
        low, high = (in_pixels(d, min(size)) for d in (self.d1, self.d2))
        if low >= high:
            raise ValueError(
                f"GridMask: no period between d1={self.d1} and d2={self.d2} in images of {size[0]} x {size[1]} pixels"
            )
        masked = chosen(self.p, trainer, images)[:, None, None, None]
        u = torch.rand(4, len(images), device=images.device)
        period = low + (u[0] * (high - low)).long()
        thickness = (period * self.ratio).ceil()
        kept = stripes(period, thickness, (u[1:3] * period).long(), (u[3] * self.rotate).long(), size)
        batch[0] = images * ~(masked & (~kept if self.mode else kept))
