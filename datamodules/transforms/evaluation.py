"""Evaluation protocols: which views of an image are classified.

One view is (3, S, S); several are (V, 3, S, S), and the prediction is the mean of their softmaxes. `zoo.Classifier`
does that in validation, test and prediction. Another LightningModule gets batches with images (N, V, 3, S, S) and has
to do it itself: `p = torch.stack([self(x).softmax(1) for x in images.unbind(1)]).mean(0)`.

Sides are given for S = 224; for another S they are in proportion. Resizing enlarges smaller images, but `Center`
crops nothing from images that are small in both sides.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from datamodules.transforms.direct import Direct
from datamodules.transforms.resizing import resize_short, validate_mode

SCALES = (224, 256, 384, 480, 640)  # short sides of He et al. 2015, section 3.4, for S = 224


class Center(Direct, v2.Transform):
    """Resize the short side to 256, crop the 224 pixels in the middle: one view.

    If both sides of an image are at most the resized short side, its short side is resized to the crop's size instead,
    so that the crop loses nothing. CIFAR's images at S = 32 stay as they are. An explicit `resized` turns this off.

    Args:
        size: S, of the crop, in pixels.
        resized: pixels of the short side; None: 256/224 of `size`, rounded up as in GluonCV (299 from 342).
        interpolation: "bilinear", or "bicubic" as in DeiT and ConvNeXt.

    Raises:
        ValueError: unless resized >= size.
    """

    def __init__(self, size: int, resized: int | None = None, interpolation: str = "bilinear"):
        super().__init__()
        self.size, self.interpolation = size, validate_mode(interpolation)
        self.resized = -(-size * 256 // 224) if resized is None else resized
        self.keeps_small = resized is None
        if self.resized < size:
            raise ValueError(f"the short side must be at least the crop's {size} pixels, got {resized}")

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        small = self.keeps_small and max(image.shape[-2:]) <= self.resized
        short = self.size if small else self.resized
        if min(image.shape[-2:]) != short:
            image = resize_short(image, short, self.interpolation)
        view: Tensor = F.center_crop(image, [self.size, self.size])
        return view


class TenCrop(Center):
    """Resize the short side to 256, crop 224 pixels at four corners and the middle, and mirror each crop: 10 views.

    Krizhevsky et al. 2012, section 4.1. torchvision's order: upper left, upper right, lower left, lower right, middle.
    """

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        image = resize_short(image, self.resized, self.interpolation)
        return torch.stack(F.ten_crop(image, [self.size, self.size])).contiguous(memory_format=torch.channels_last)


class MultiScale(v2.Transform):
    """Resize the short side to 224, 256, 384, 480 and 640, and take ten crops of 224 pixels of each: 50 views.

    He et al. 2015 (https://arxiv.org/abs/1512.03385) apply the network to the whole of each resized image instead and
    average over its positions.

    Args:
        size: S, of the crops, in pixels.
        scales: short sides in pixels; None: those five, in proportion to `size`.
        interpolation: "bilinear" or "bicubic".
    """

    def __init__(self, size: int, scales: tuple[int, ...] | None = None, interpolation: str = "bilinear"):
        super().__init__()
        self.size = size
        self.scales = tuple(round(scale * size / 224) for scale in SCALES) if scales is None else tuple(scales)
        self.interpolation = interpolation
        self._crops = [TenCrop(size, scale, interpolation) for scale in self.scales]

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        return torch.cat([crops(image) for crops in self._crops])
