"""Regions of images, for tricks that look at parts: the whole, the corners and the centre."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.layers.layout import match_layout

CROP = 0.6  # of the image's sides
COUNT = 6  # regions an image


def regions(images: Tensor) -> Tensor:
    """Return the images (N, C, H, W), then their four corners and centre, enlarged: (6 N, C, H, W)."""
    (height, width), (h, w) = images.shape[-2:], (max(1, round(CROP * side)) for side in images.shape[-2:])
    corners = [(y, x) for y in (0, height - h) for x in (0, width - w)]
    crops = [images[..., y : y + h, x : x + w] for y, x in (*corners, ((height - h) // 2, (width - w) // 2))]
    small = torch.cat(crops).to(images.dtype if images.dtype.itemsize >= 4 else torch.float32)
    large = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    return match_layout(torch.cat([images, large.to(images.dtype)]), images)
