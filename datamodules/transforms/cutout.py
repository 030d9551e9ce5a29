"""Cutout: erases a square at a random place, which may extend over the image's edge.

Paper:    Improved Regularization of Convolutional Neural Networks with Cutout (DeVries, Taylor; 2017), section 3
          https://arxiv.org/abs/1708.04552
Code:     https://github.com/uoguelph-mlrg/Cutout (the authors')
Equation: centre (y, x) uniform over the pixels; rows y - L//2 to y - L//2 + L and the same columns get the fill
Shapes:   uint8 (3, H, W) -> same
Defaults: one hole, always; the fill is ImageNet's mean colour. By name: L = half the side, the authors' 16 for CIFAR-10
          and PaddleClas's 112 for ImageNet (the authors' for CIFAR-100 is 8).
Differs:  the authors erase after normalisation, that is, with the data set's mean colour: give it as `fill`,
          rounded to bytes. For an odd L their hole is one pixel smaller.
"""

import torch
from torch import Tensor
from torchvision.transforms import v2

MEAN_COLOUR = (124, 116, 104)  # of ImageNet, in bytes: 0 after normalisation


def cutout(image: Tensor, y: int, x: int, side: int, fill: tuple[int, int, int] = MEAN_COLOUR) -> Tensor:
    """Erase a square of `side` pixels around row y and column x of uint8 (3, H, W); a new image.

    The hole's rows are y - side//2 to y - side//2 + side, its columns likewise, cut off at the edges.
    """
    top, left = y - side // 2, x - side // 2
    image = image.clone()
    hole = image[:, max(top, 0) : top + side, max(left, 0) : left + side]
    hole.copy_(torch.tensor(fill, dtype=torch.uint8)[:, None, None].expand_as(hole))
    return image


class Cutout(v2.Transform):
    """Erase a square at a random place.

    Args:
        side: of the square, in pixels, at least 1.
        fill: colour of the hole, in bytes.
    """

    def __init__(self, side: int, fill: tuple[int, int, int] = MEAN_COLOUR):
        super().__init__()
        if side < 1:
            raise ValueError(f"side must be at least 1 pixel, got {side}")
        self.side, self.fill = side, fill

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, int]:
        height, width = flat_inputs[0].shape[-2:]
        return {"y": int(torch.randint(height, ())), "x": int(torch.randint(width, ()))}

    def transform(self, image: Tensor, params: dict[str, int]) -> Tensor:
        return cutout(image, params["y"], params["x"], self.side, self.fill)
