"""Plant background noise: shrink images, and paste them on crops of other classes' images."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SIDES = (0.35, 0.6)  # of a pasted image, as a fraction of the side
SHARPER = 3  # samples a pixel and direction, so that small images are averaged and not thinned out


def plant_background(
    images: NDArray[np.uint8], targets: Tensor, share: float, seed: int
) -> tuple[NDArray[np.uint8], Tensor]:
    """Return images of which a share has its object small, at a random place, on a foreign background.

    Args:
        images: (n, S, S, C); not changed.
        targets: (n,), the classes.
        share: of the images, in [0, 1].
        seed: of the choice, the places and the backgrounds.

    Returns:
        Images (n, S, S, C), and whether each has the noise, bool (n,).
    """
    if share == 0:
        return images, torch.zeros(len(images), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images), generator=generator)[: int(share * len(images))]
    noisy = torch.zeros(len(images), dtype=torch.bool).index_fill(0, chosen, True)
    pixels = torch.from_numpy(images.copy()).movedim(3, 1)
    canvas = backgrounds(pixels, targets, chosen, generator)
    scale, where = torch.rand(3, len(chosen), generator=generator).split([1, 2])
    pixels[chosen] = paste(pixels[chosen], canvas, SIDES[0] + (SIDES[1] - SIDES[0]) * scale[0], where.T)
    return np.ascontiguousarray(pixels.movedim(1, 3).numpy()), noisy


def backgrounds(pixels: Tensor, targets: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Return a canvas (m, C, S, S) for each chosen image: four quarters, each that of an image of another class."""
    draws = torch.rand(len(chosen), 4, 64, generator=generator)
    others = (draws * len(pixels)).long()  # the first one of another class
    foreign = targets[others] != targets[chosen, None, None]
    found = others.gather(2, foreign.int().argmax(2, keepdim=True))[..., 0]
    half = pixels.shape[2] // 2
    canvas = pixels[found[:, 0]].clone()
    canvas[..., :half, half:] = pixels[found[:, 1]][..., :half, half:]
    canvas[..., half:, :half] = pixels[found[:, 2]][..., half:, :half]
    canvas[..., half:, half:] = pixels[found[:, 3]][..., half:, half:]
    return canvas


def paste(pixels: Tensor, canvas: Tensor, scale: Tensor, where: Tensor) -> Tensor:
    """Shrink images and paste them.

    Args:
        pixels, canvas: uint8 (m, C, S, S).
        scale: (m,) side of the small image, as a fraction, in (0, 1].
        where: (m, 2) down and to the right, in [0, 1]: 0 at the border, 1 at the other.
    """
    m, _, side, _ = pixels.shape
    fine = SHARPER * side
    centre = (1 - scale[:, None]) * (2 * where - 1)  # of the small image; places run from -1 to 1
    theta = torch.zeros(m, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = -centre.flip(1) / scale[:, None]
    places = F.affine_grid(theta, [m, 1, fine, fine], align_corners=False)
    both = torch.cat([pixels.float(), torch.ones(m, 1, side, side)], 1)
    inside = (places.abs() <= 1).all(3)[:, None]
    small = F.avg_pool2d(F.grid_sample(both, places, padding_mode="border", align_corners=False) * inside, SHARPER)
    image, cover = small[:, :-1], small[:, -1:]
    return (image + (1 - cover) * canvas).round().clamp(0, 255).to(torch.uint8)
