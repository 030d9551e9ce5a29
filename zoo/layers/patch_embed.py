"""An image as a sequence of patches, and the positions of patches.

Paper:    An Image is Worth 16x16 Words (Dosovitskiy et al.; ICLR 2021) https://arxiv.org/abs/2010.11929, section 3.1
"""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.checks import SMALL


class PatchEmbed(nn.Module):
    """Cut the image into patches of P x P px and embed each. Shapes: (N, 3, S, S) -> (N, (S/P)^2, D), row by row."""

    def __init__(self, patch: int, width: int, padding: int = 0):
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class ConvStem(nn.Module):
    """LV-ViT's stem: three convolutions, then patches of P/2 px. Shapes: (N, 3, S, S) -> (N, (S/P)^2, D), row by row.

    Args:
        patch: P in pixels, even.
        c: channels of the three convolutions.
        width: D.

    Raises:
        ValueError: if P is odd.
    """

    def __init__(self, patch: int, c: int, width: int):
        super().__init__()
        if patch % 2:
            raise ValueError(
                f"LV-ViT's stem halves images, so patches are of even size, got {patch} px: use another image size"
            )
        self.conv1 = nn.Conv2d(3, c, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)
        self.conv3 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)
        self.proj = nn.Conv2d(c, width, kernel_size=patch // 2, stride=patch // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.conv3(x)))
        return self.proj(x).flatten(2).transpose(1, 2)


def patch_side(image_size: int, patch: int, across: int = 8) -> int:
    """Return the side of a patch in pixels: up to 64 px, what lets `across` of them span the image, else `patch`.

    Raises:
        ValueError: if patches do not fill the image.
    """
    if image_size <= SMALL:
        patch = max(1, image_size // across)
    if image_size % patch:
        raise ValueError(f"image_size={image_size} is not a multiple of the patch's {patch} px: change one of them")
    return patch


def check_size(x: Tensor, image_size: int, model: str, what: str = "positions") -> None:
    """Refuse images of another size than the model's positions, or `what`, are for.

    Raises:
        ValueError: says which `image_size` to take.
    """
    if x.shape[-2:] != (image_size, image_size):
        raise ValueError(
            f"{model} has {what} for images of {image_size} x {image_size} px, got {x.shape[-2]} x {x.shape[-1]}: "
            f"create it with image_size={x.shape[-1]}; weights are interpolated"
        )


def resize_positions(positions: Tensor, grid: int, prefix: int) -> Tensor:
    """Interpolate the positions of the patches, bicubic as in DeiT: (1, prefix + g^2, D) -> (1, prefix + grid^2, D).

    Args:
        positions: the first `prefix` belong to tokens before the patches, and stay as they are.
        grid: patches a side afterwards.
        prefix: number of tokens before the patches.
    """
    first, patches = positions[:, :prefix].float(), positions[:, prefix:].float()
    side = round(sqrt(patches.shape[1]))
    patches = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, (grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([first, patches.flatten(2).transpose(1, 2)], 1).to(positions.dtype)


def resize_patches(kernels: Tensor, size: int) -> Tensor:
    """Interpolate the kernels (D, 3, P, P) of `PatchEmbed`, bicubic, to (D, 3, size, size). Their sums stay."""
    area = (kernels.shape[2] / size) ** 2
    return area * F.interpolate(kernels, (size, size), mode="bicubic", antialias=True, align_corners=False)


def take_patches(tokens: Tensor, index: Tensor, prefix: int) -> Tensor:
    """Return the first `prefix` tokens and the patches at `index` (N, K): (N, prefix + L, D) -> (N, prefix + K, D)."""
    patches = tokens[:, prefix:].gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))
    return torch.cat([tokens[:, :prefix], patches], 1)
