"""Resize the whole image to a given short side: before a centre crop, and at random in training."""

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from datamodules.transforms.resizing import resize, resize_short, short_side, trim, validate_mode


class ResizeShort(v2.Transform):
    """Resize the short side to `size` pixels, at the same aspect ratio; within one level of Pillow.

    Args:
        size: of the short side, in pixels.
        interpolation: "bilinear" or "bicubic".
    """

    def __init__(self, size: int, interpolation: str = "bilinear"):
        super().__init__()
        self.size, self.interpolation = size, validate_mode(interpolation)

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        return resize_short(image, self.size, self.interpolation)


class ScaleJitter(v2.Transform):
    """Resize the short side to a random length, then crop at random: scale jitter of VGG and ResNet.

    Simonyan & Zisserman 2014 (https://arxiv.org/abs/1409.1556), section 3.1; He et al. 2015
    (https://arxiv.org/abs/1512.03385), section 3.4: short side from [256, 480], crop of 224. The rest of the
    resized image is not kept. (`torchvision`'s class of this name is for detection.)

    Args:
        size: side of the crop in pixels.
        low, high: pixels of the short side, both included; None: 256/224 and 480/224 of `size`.
        interpolation: "bilinear" or "bicubic".

    Raises:
        ValueError: unless size <= low <= high.
    """

    def __init__(self, size: int, low: int | None = None, high: int | None = None, interpolation: str = "bilinear"):
        super().__init__()
        self.size, self.interpolation = size, validate_mode(interpolation)
        self.low = round(size * 256 / 224) if low is None else low
        self.high = round(size * 480 / 224) if high is None else high
        if not size <= self.low <= self.high:
            raise ValueError(f"scale jitter needs size <= low <= high, got {size}, {self.low} and {self.high}")

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, int]:
        short = _integer(self.low, self.high + 1)
        height, width = short_side(trim(flat_inputs[0], short).shape[-2:], short)
        top, left = _integer(0, height - self.size + 1), _integer(0, width - self.size + 1)
        return {"height": height, "width": width, "top": top, "left": left}

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        height, width, top, left = (params[name] for name in ("height", "width", "top", "left"))
        image = resize(trim(image, min(height, width)), height, width, self.interpolation)
        return image[:, top : top + self.size, left : left + self.size]


def _integer(low: int, high: int) -> int:
    """Draw uniformly from [low, high)."""
    return int(torch.randint(low, high, ()))
