"""Resizing of the whole image, its short side to so many pixels: before a centre crop, and at random in training."""

import torch
from torch import Tensor
from torchvision.transforms import v2

from datamodules.transforms.resizing import checked_mode, resize, short_side


class ResizeShort(v2.Transform):
    """The short side to so many pixels, the aspect ratio kept; within one level of Pillow.

    Args:
        size: of the short side, in pixels.
        interpolation: "bilinear" or "bicubic".
    """

    def __init__(self, size: int, interpolation: str = "bilinear"):
        super().__init__()
        self.size, self.interpolation = size, checked_mode(interpolation)

    def transform(self, image: Tensor, params: dict) -> Tensor:
        height, width = short_side(*image.shape[-2:], self.size)
        return resize(image, height, width, self.interpolation)


class ScaleJitter(v2.Transform):
    """Scale jitter of VGG and ResNet: the short side to a random length, then a random crop.

    Simonyan & Zisserman 2014 (https://arxiv.org/abs/1409.1556), section 3.1; He et al. 2015
    (https://arxiv.org/abs/1512.03385), section 3.4: short side from [256, 480], crop of 224. Only the crop is kept of
    the resized image. (`torchvision`'s class of this name is another one: that of detection.)

    Args:
        size: side of the crop in pixels.
        low, high: pixels of the short side, both included; None: 256/224 and 480/224 of `size`.
        interpolation: "bilinear" or "bicubic".

    Raises:
        ValueError: unless size <= low <= high.
    """

    def __init__(self, size: int, low: int | None = None, high: int | None = None, interpolation: str = "bilinear"):
        super().__init__()
        self.size, self.interpolation = size, checked_mode(interpolation)
        self.low = round(size * 256 / 224) if low is None else low
        self.high = round(size * 480 / 224) if high is None else high
        if not size <= self.low <= self.high:
            raise ValueError(f"scale jitter needs size <= low <= high, got {size}, {self.low} and {self.high}")

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, int]:
        height, width = short_side(*flat_inputs[0].shape[-2:], _integer(self.low, self.high + 1))
        top, left = _integer(0, height - self.size + 1), _integer(0, width - self.size + 1)
        return {"height": height, "width": width, "top": top, "left": left}

    def transform(self, image: Tensor, params: dict[str, int]) -> Tensor:
        image = resize(image, params["height"], params["width"], self.interpolation)
        top, left = params["top"], params["left"]
        return image[:, top : top + self.size, left : left + self.size]


def _integer(low: int, high: int) -> int:
    """Uniform in [low, high)."""
    return int(torch.randint(low, high, ()))
