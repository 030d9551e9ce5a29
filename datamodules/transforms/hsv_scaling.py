"""Scales hue, saturation and brightness: the colour jitter of the Bag of Tricks' baseline.

Paper:    Bag of Tricks for Image Classification with Convolutional Neural Networks (He et al.; CVPR 2019), section 2.1,
          step 4: "scale hue, saturation, and brightness with coefficients uniformly drawn from [0.6, 1.4]"
          https://arxiv.org/abs/1812.01187
Code:     none that scales the hue: GluonCV's released script jitters brightness, contrast and saturation by .4
          (`v2.ColorJitter(0.4, 0.4, 0.4)`, here "color-jitter")
Equation: h' = c1 h mod 1, s' = min(1, c2 s), v' = min(1, c3 v),  c ~ U[.6, 1.4]^3, one draw an image
Shapes:   uint8 (3, H, W) -> same
Defaults: .6 to 1.4, the paper's
Differs:  the paper does not say what happens to a hue above 1; here it wraps around. Hue 0 is red.
"""

import torch
from torch import Tensor
from torchvision.transforms import v2

OFFSETS = torch.tensor([5.0, 3.0, 1.0])[:, None, None]  # red, green, blue; a sixth of the circle is 1


def hsv_scaling(image: Tensor, scales: Tensor) -> Tensor:
    """Scale hue, saturation and value of uint8 (3, H, W) by coefficients (3,); saturation and value stop at 1."""
    red, green, blue = image.contiguous().float()
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    hue = _hue(red, green, blue, value, chroma.clamp(min=1)).mul_(scales[0])
    saturation = chroma.div_(value.clamp(min=1)).mul_(scales[1]).clamp_(max=1)
    value = value.mul_(scales[2]).clamp_(max=255)
    sector = hue + OFFSETS  # each colour's position on the circle, counted from its complement
    sector -= (sector / 6).floor_().mul_(6)  # `% 6` takes ten times as long
    missing = torch.minimum(sector, 4 - sector).clamp_(0, 1)
    return missing.mul_(saturation).neg_().add_(1).mul_(value).round_().byte()


def _hue(red: Tensor, green: Tensor, blue: Tensor, value: Tensor, chroma: Tensor) -> Tensor:
    """Return the hue in [0, 6): 0 is red, 2 green, 4 blue. Grey has 0, which changes nothing."""
    from_green, from_blue = (blue - red).add_(chroma, alpha=2), (red - green).add_(chroma, alpha=4)
    hue = torch.where(value == red, green - blue, torch.where(value == green, from_green, from_blue)).div_(chroma)
    return torch.where(hue < 0, hue + 6, hue)


class HSVScaling(v2.Transform):
    """Multiply hue, saturation and brightness, each by a number from [1 - strength, 1 + strength].

    Args:
        strength: in [0, 1].
    """

    def __init__(self, strength: float = 0.4):
        super().__init__()
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be in [0, 1], got {strength}")
        self.strength = strength

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, Tensor]:
        return {"scales": 1 + self.strength * (2 * torch.rand(3) - 1)}

    def transform(self, image: Tensor, params: dict[str, Tensor]) -> Tensor:
        return hsv_scaling(image, params["scales"])
