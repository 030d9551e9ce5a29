"""GridMask: erase a regular grid of squares, turned by a random angle.

Paper:    GridMask Data Augmentation (Chen, Liu, Zhao, Jia; 2020)
          https://arxiv.org/abs/2001.04086, section 3
Code:     https://github.com/dvlab-research/GridMask (the authors', `imagenet_grid`)
Equation: x' = M x. M = 1 on stripes of width l = ceil(ratio d), one every d px along both axes of a grid that is turned
          around the image's centre, and 0 on the squares between them (mode 1; mode 0 swaps the two). Drawn for each
          image: d ~ U{d1, ..., d2 - 1}, two phases ~ U{0, ..., d - 1}, angle ~ U{0, ..., rotate - 1} degrees
Shapes:   images (N, C, H, W) -> same;  targets unchanged
Defaults: d1 = 96 / 224 and d2 = 1 of the shorter side, 96 and 224 of 224 px; ratio = .6, rotate = 360, mode = 1;
          p = Linear(0, .8, "0.8dur"), over the first 240 of 300 epochs: all the authors' for ImageNet
Differs:  the fill is 0 after normalisation, the mean colour of the data, as in the authors' code. Their p grows once an
          epoch, ours at every step. They draw a mask as large as the image's diagonal and rotate it; we compute the
          grid coordinates of each pixel. The two agree up to rounding.
"""

import math

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.chance import choose_images
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Linear, Rate
from callbacks.frame.trick import Trick

RAMP = Linear(0.0, 0.8, until="0.8dur")


def stripes(period: Tensor, thickness: Tensor, phases: Tensor, degrees: Tensor, size: tuple[int, int]) -> Tensor:
    """Mark the pixels that lie on a stripe of the grid.

    Args:
        period, thickness: (N,) of the stripes, in pixels.
        phases: (2, N) offsets of the first horizontal and the first vertical stripe, in pixels. They count from the
            upper left corner of a square around the image's centre, whose side is the image's diagonal, rounded up.
        degrees: (N,) rotation around the centre, counter-clockwise.
        size: H and W.

    Returns:
        bool (N, 1, H, W), True on stripes.
    """
    side = math.ceil(math.hypot(*size))
    y, x = ((torch.arange(n, device=period.device) + (side - n) // 2 + 0.5 - side / 2) for n in size)  # centre at 0
    cos, sin = (f(torch.deg2rad(degrees.float()))[:, None, None] for f in (torch.cos, torch.sin))
    row = (cos * y[:, None] + sin * x + side / 2).floor()
    column = (cos * x - sin * y[:, None] + side / 2).floor()
    period, thickness, up, left = (t[:, None, None] for t in (period, thickness, *phases))
    return (((row - up) % period < thickness) | ((column - left) % period < thickness))[:, None]


def in_pixels(length: int | float, side: int) -> int:
    """Return a length in pixels: a float is a fraction of `side`, an int is pixels already."""
    return max(1, round(length * side)) if isinstance(length, float) else length


class GridMask(Trick):
    """Erase a grid from training images, on the batch's device. Works on any LightningModule.

    Args:
        d1: smallest period: an int in pixels, or a float, the fraction of the image's shorter side.
        d2: upper bound of the period, excluded; of the same type as d1.
        ratio: thickness of the stripes as a fraction of the period, in (0, 1].
        rotate: upper bound of the angle in degrees, excluded; 1 turns rotation off.
        mode: 1 erases the squares, 0 erases the stripes.
        p: probability that an image is masked, in (0, 1], or a `Schedule`.

    Raises:
        ValueError: if an argument is out of its range, or (at the first batch) if d1 and d2 are the same in pixels.
    """

    changes_batch = True
    takes_boxes = True
    needs = (Range("p", 0, 1, off_at_low=True), Range("ratio", 0, 1, open_low=True))
    examples = ({"d1": 2, "d2": 5, "ratio": 0.5, "rotate": 1, "mode": 0, "p": 0.7},)

    def __init__(
        self,
        d1: int | float = 96 / 224,
        d2: int | float = 1.0,
        ratio: float = 0.6,
        rotate: int = 360,
        mode: int = 1,
        p: Rate = RAMP,
    ):
        if type(d1) is not type(d2) or not 0 < d1 < d2:
            raise ValueError(
                f"GridMask: d1 and d2 must be two int (pixels) or two float (fractions), 0 < d1 < d2, got {d1} and {d2}"
            )
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
        masked = choose_images(self.p, trainer, images)[:, None, None, None]
        u = torch.rand(4, len(images), device=images.device)
        period = low + (u[0] * (high - low)).long()
        thickness = (period * self.ratio).ceil()
        on_stripe = stripes(period, thickness, (u[1:3] * period).long(), (u[3] * self.rotate).long(), size)
        batch[0] = images * ~(masked & (~on_stripe if self.mode else on_stripe))
