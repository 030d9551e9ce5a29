"""GridMask: erases a regular grid of squares, turned by a random angle.

Paper:    GridMask Data Augmentation (Chen, Liu, Zhao, Jia; 2020), section 3
          https://arxiv.org/abs/2001.04086
Code:     https://github.com/dvlab-research/GridMask (the authors', `imagenet_grid`)
Equation: period d ~ U{d1, ..., d2 - 1}, stripes of width l = ceil(ratio d) and phases U{0, ..., d - 1} along both axes
          of a grid turned by U{0, ..., rotate - 1} degrees around the image's middle.
          mode 1: the stripes are kept, the squares of side d - l between them erased; mode 0: the opposite.
Shapes:   uint8 (3, H, W) -> same
Defaults: d1 96, d2 224, ratio .6, rotate 360, mode 1: the authors' for ImageNet. By name: d1 and d2 in proportion to
          the image's side. p .8, which their training reaches after 240 of 300 epochs.
Differs:  the authors raise p linearly, here it is fixed (the trick `GridMask` for batches takes a schedule). They draw
          a mask and rotate it, here each pixel's position in the grid is computed. They erase after normalisation: see
          `fill`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from datamodules.transforms.cutout import MEAN_COLOUR


def stripes(size: Sequence[int], period: int, thickness: int, phases: tuple[int, int], degrees: float) -> Tensor:
    """Draw the grid's stripes: bool (H, W).

    Args:
        size: height and width of the image, in pixels.
        period, thickness: of the stripes, in pixels.
        phases: start of the first horizontal and the first vertical stripe, from the upper left corner of a square. The
            square is centred on the image; its side is the image's diagonal, rounded up.
        degrees: counter-clockwise around the middle.
    """
    height, width = size
    side = math.ceil(math.hypot(height, width))
    y = torch.arange(height) + (side - height) // 2 + 0.5 - side / 2  # pixel centres, from the square's middle
    x = torch.arange(width) + (side - width) // 2 + 0.5 - side / 2
    cos, sin = round(math.cos(math.radians(degrees)), 15), round(math.sin(math.radians(degrees)), 15)
    row = (cos * y[:, None] + sin * x + side / 2).floor()
    column = (cos * x - sin * y[:, None] + side / 2).floor()
    return ((row - phases[0]) % period < thickness) | ((column - phases[1]) % period < thickness)


class GridMask(v2.Transform):
    """Erase a regular grid of squares, turned by a random angle.

    Args:
        d1, d2: the period in pixels is at least d1 and less than d2.
        ratio: thickness of the stripes, as a fraction of the period, in (0, 1).
        rotate: the angle in degrees is less than this; 1 for none.
        mode: 1 erases the squares, 0 the stripes.
        p: probability that an image is masked.
        fill: colour of the erased part, in bytes.

    Raises:
        ValueError: unless 1 <= d1 < d2, 0 < ratio < 1, rotate >= 1 and mode is 0 or 1.
    """

    def __init__(
        self,
        d1: int = 96,
        d2: int = 224,
        ratio: float = 0.6,
        rotate: int = 360,
        mode: int = 1,
        p: float = 0.8,
        fill: tuple[int, int, int] = MEAN_COLOUR,
    ):
        super().__init__()
        if not 1 <= d1 < d2 or not 0 < ratio < 1 or rotate < 1 or mode not in (0, 1) or not 0 <= p <= 1:
            raise ValueError(
                f"GridMask needs 1 <= d1 < d2, ratio in (0, 1), rotate >= 1, mode 0 or 1 and p in [0, 1], got "
                f"d1={d1}, d2={d2}, ratio={ratio}, rotate={rotate}, mode={mode}, p={p}"
            )
        self.d1, self.d2, self.ratio, self.rotate, self.mode, self.p = d1, d2, ratio, rotate, mode, p
        self.fill = tuple(fill)

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, Tensor | None]:
        if torch.rand(()) >= self.p:
            return {"erased": None}
        period = int(torch.randint(self.d1, self.d2, ()))
        phases = tuple(torch.randint(period, (2,)).tolist())
        degrees = int(torch.randint(self.rotate, ()))
        stripe = stripes(flat_inputs[0].shape[-2:], period, math.ceil(period * self.ratio), phases, degrees)
        return {"erased": ~stripe if self.mode else stripe}

    def transform(self, image: Tensor, params: dict[str, Tensor | None]) -> Tensor:
        if params["erased"] is None:
            return image
        return torch.where(params["erased"], torch.tensor(self.fill, dtype=torch.uint8)[:, None, None], image)
