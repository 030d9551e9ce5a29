"""RandAugment as DeiT, ConvNeXt and most recipes since use it: timm's `rand-m9-mstd0.5-inc1`.

Paper:    RandAugment: Practical Automated Data Augmentation with a Reduced Search Space (Cubuk, Zoph, Shlens, Le;
          NeurIPS 2020)  https://arxiv.org/abs/1909.13719
          with the changes of timm, which the recipes of DeiT (https://arxiv.org/abs/2012.12877) name
Code:     timm.data.auto_augment.rand_augment_transform("rand-m9-mstd0.5-inc1")
Equation: twice: one of 15 operations, uniform, with replacement; applied with probability 1/2; at magnitude
          m ~ N(9, .5), cut off at 0 and 10. "Increasing": each operation does more as m grows.
Shapes:   uint8 (3, H, W) -> same
Defaults: m 9, std .5, 2 operations, fill of ImageNet's mean colour: those of the recipes
Differs:  turned, sheared and shifted images are interpolated bilinearly, where the recipes have bicubic. The operations
          are torchvision's for tensors, within 2 levels of Pillow's, which timm uses.
          `v2.RandAugment`, here "randaugment", is the nearest of torchvision, and the paper's: 14 operations, Identity
          in place of Invert and SolarizeAdd; always applied; one fixed magnitude of 31, milder (9 of 30); shifts by
          150/331 of the side at most, here .45; nearest interpolation and black fill by default.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from datamodules.transforms.cutout import MEAN_COLOUR

Pair = tuple[float, float]
SIGNED = ("Rotate", "Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY")


def posterize(image: Tensor, bits: int) -> Tensor:
    """Keep the upper `bits`, 0 to 8, of each byte."""
    return image & (0xFF00 >> bits & 0xFF)


def solarize(image: Tensor, threshold: int) -> Tensor:
    """Invert the bytes from `threshold`, 0 to 256, on."""
    return torch.where(image.short() >= threshold, 255 - image, image)  # a byte compares wrongly with 256


def solarize_add(image: Tensor, add: int) -> Tensor:
    """Add to the bytes below 128, as far as 255."""
    return torch.where(image < 128, (image.short() + add).clamp_(max=255).byte(), image)


def _affine(
    image: Tensor,
    fill: list[float],
    angle: float = 0.0,
    translate: Pair = (0.0, 0.0),
    shear: Pair = (0.0, 0.0),
    center: list[float] | None = None,
) -> Tensor:
    moved: Tensor = F.affine(image, angle, list(translate), 1.0, list(shear), InterpolationMode.BILINEAR, fill, center)
    return moved


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


# Name -> the operation at strength s in [-1, 1] (magnitude 10 is 1), with the fill (3,) for what comes from outside.
ACTIONS: dict[str, Callable[[Tensor, float, list[float]], Tensor]] = {
    "AutoContrast": lambda x, s, fill: F.autocontrast(x),
    "Equalize": lambda x, s, fill: F.equalize(x),
    "Invert": lambda x, s, fill: F.invert(x),
    "Rotate": lambda x, s, fill: _affine(x, fill, angle=-30 * s),
    "Posterize": lambda x, s, fill: posterize(x, 4 - int(4 * s)),
    "Solarize": lambda x, s, fill: solarize(x, 256 - int(256 * s)),
    "SolarizeAdd": lambda x, s, fill: solarize_add(x, int(110 * s)),
    "Color": lambda x, s, fill: F.adjust_saturation(x, 1 + 0.9 * s),
    "Contrast": lambda x, s, fill: F.adjust_contrast(x, 1 + 0.9 * s),
    "Brightness": lambda x, s, fill: F.adjust_brightness(x, 1 + 0.9 * s),
    "Sharpness": lambda x, s, fill: F.adjust_sharpness(x, 1 + 0.9 * s),
    "ShearX": lambda x, s, fill: _affine(x, fill, shear=(_degrees(0.3 * s), 0.0), center=[0.0, 0.0]),
    "ShearY": lambda x, s, fill: _affine(x, fill, shear=(0.0, _degrees(0.3 * s)), center=[0.0, 0.0]),
    "TranslateX": lambda x, s, fill: _affine(x, fill, translate=(0.45 * s * x.shape[-1], 0.0)),
    "TranslateY": lambda x, s, fill: _affine(x, fill, translate=(0.0, 0.45 * s * x.shape[-2])),
}


class RandAugment(v2.Transform):
    """Apply two random operations of 15, each with probability 1/2: timm's `rand-m9-mstd0.5-inc1`.

    Args:
        magnitude: the mean of an operation's magnitude, in [0, 10].
        std: its standard deviation, >= 0.
        num_ops: operations drawn an image.
        fill: colour of what comes from outside the image, in bytes.
    """

    def __init__(
        self, magnitude: float = 9, std: float = 0.5, num_ops: int = 2, fill: tuple[int, int, int] = MEAN_COLOUR
    ):
        super().__init__()
        if not 0 <= magnitude <= 10 or std < 0 or num_ops < 0:
            raise ValueError(
                f"RandAugment needs magnitude in [0, 10], std and num_ops >= 0, got {magnitude}, {std} and {num_ops}"
            )
        self.magnitude, self.std, self.num_ops, self.fill = magnitude, std, num_ops, tuple(fill)

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, Any]:
        which = torch.randint(len(ACTIONS), (self.num_ops,)).tolist()
        applied, signs = (torch.rand(2, self.num_ops) < 0.5).tolist()
        strengths = ((self.magnitude + self.std * torch.randn(self.num_ops)).clamp(0, 10) / 10).tolist()
        chosen = []
        for number, apply, minus, strength in zip(which, applied, signs, strengths, strict=True):
            name = [*ACTIONS][number]
            if apply:
                chosen.append((name, -strength if minus and name in SIGNED else strength))
        return {"chosen": chosen}

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        for name, strength in params["chosen"]:
            image = ACTIONS[name](image, strength, [float(byte) for byte in self.fill])
        return image
