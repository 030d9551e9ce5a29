"""Random Erasing on bytes: torchvision's, whose noise is made for normalised images.

Paper:    Random Erasing Data Augmentation (Zhong, Zheng, Kang, Li, Yang; AAAI 2020)
          https://arxiv.org/abs/1708.04896
Code:     torchvision.transforms.v2.RandomErasing, of which this is a subclass: the same draws, the same arguments
Equation: with probability p, area a ~ U[.02, .33] H W, aspect ratio r ~ exp U[log .3, log 3.3], h = sqrt(a r),
          w = sqrt(a / r), a place where it fits; up to 10 tries
Shapes:   uint8 (3, H, W) -> same
Defaults: torchvision's, and "random": a normal draw for each pixel and colour of the normalised image, which is what
          timm calls "pixel", and DeiT and ConvNeXt use (with p .25)
Differs:  the normal draws become bytes by ImageNet's mean and standard deviation, and are clipped (3 % of them). The
          paper fills with bytes uniform in [0, 255], has an area up to .4 and a uniform aspect ratio.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

MEAN = 255 * torch.tensor([0.485, 0.456, 0.406])[:, None, None]  # of ImageNet
STD = 255 * torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def as_bytes(noise: Tensor) -> Tensor:
    """Return pixels of a normalised image, float (3, H, W), as uint8 (3, H, W)."""
    return (noise * STD + MEAN).round().clamp(0, 255).byte()


class RandomErasing(v2.RandomErasing):
    """Fill a random rectangle with noise or a colour.

    Args:
        p: probability that an image gets a hole.
        scale: smallest and largest area, as fractions of the image's.
        ratio: smallest and largest height over width.
        value: "random", or one byte or three.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: str | float | tuple[float, float, float] = "random",
    ):
        super().__init__(p, scale, ratio, value)

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, Any]:
        params = super().make_params(flat_inputs)
        if params["v"] is not None:
            params["v"] = as_bytes(params["v"]) if self.value is None else params["v"].byte()
        return params

    def extra_repr(self) -> str:
        return super().extra_repr() + (", value=random" if self.value is None else "")
