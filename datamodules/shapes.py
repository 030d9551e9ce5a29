"""Circles, squares and triangles on textured backgrounds, with their masks: segmentation without a download."""

import math
import warnings
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.image_data import ImageData
from datamodules.frame.memory import MemorySet
from datamodules.frame.options import ImageOptions
from datamodules.frame.order import GOLD, draws, mix

SLOTS = 3  # shapes an image, at most
PER_SHAPE, PER_GRATING = 9, 7  # draws
CHUNK = 128  # images drawn at a time: about 50 MB at 64 px
# half a square's side and a triangle's radius, in units of the circle's radius, so that all areas are equal
SQUARE, TRIANGLE = math.sqrt(math.pi) / 2, math.sqrt(4 * math.pi / (3 * math.sqrt(3)))


def is_inside(kind: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return whether points (u, v), (..., H, W), lie in a shape of area pi centred at 0.

    Kinds (...) are 1 circle, 2 square, 3 triangle. The square's sides are parallel to the axes; the triangle
    points to positive v.
    """
    circle = u**2 + v**2 <= 1
    square = torch.maximum(u.abs(), v.abs()) <= SQUARE
    triangle = (v >= -TRIANGLE / 2) & (math.sqrt(3) * u.abs() + v <= TRIANGLE)
    kind = kind[..., None, None]
    return (kind == 1) & circle | (kind == 2) & square | (kind == 3) & triangle


def gratings(u: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sum two waves of colour (N, H, W, 3): draws u (N, 2, 7) in [0, 1), pixels y, x (H, W) in units of the image."""
    angle, frequency, phase = 2 * math.pi * u[..., 0], 2 + 6 * u[..., 1], 2 * math.pi * u[..., 2]
    along = angle.cos()[..., None, None] * x + angle.sin()[..., None, None] * y
    wave = (2 * math.pi * frequency[..., None, None] * along + phase[..., None, None]).sin()  # (N, 2, H, W)
    return torch.einsum("nghw,ngc->nhwc", wave, 0.2 * u[..., 3:6] - 0.1)


def shapes(index: Tensor, size: int, key: int) -> tuple[NDArray[np.uint8], Tensor, Tensor]:
    """Draw images, their masks, and the kind of the front shape, each a function of (key, index) alone.

    One to three shapes of random kind, position, size (a circle's radius is .12 to .3 of the side), tilt and colour,
    the later ones in front; two waves of colour behind; noise over all.

    Args:
        index: (N,) int64, which images.
        size: side, in pixels.
        key: of the set.

    Returns:
        Images uint8 (N, S, S, 3); masks int64 (N, S, S), 0 where there is no shape; kinds int64 (N,) of the front ones.
    """
    own = 1 + SLOTS * PER_SHAPE + 2 * PER_GRATING + 3
    u = draws(index, own + 3 * size * size, key)
    count, u, noise = (SLOTS * u[:, 0]).long() + 1, u[:, 1:own], u[:, own:].view(-1, size, size, 3)
    each, u = u[:, : SLOTS * PER_SHAPE].unflatten(1, (SLOTS, -1)), u[:, SLOTS * PER_SHAPE :]
    y, x = torch.meshgrid(*2 * [(torch.arange(size) + 0.5) / size], indexing="ij")

    kind = (3 * each[..., 0]).long() + 1  # (N, 3)
    there = draw_shapes(kind, each, y, x) & (torch.arange(SLOTS) < count[:, None])[..., None, None]
    rank = (there * torch.arange(1, SLOTS + 1).view(-1, 1, 1)).amax(1)  # (N, S, S): 0 nothing, else the front one
    front = rank.flatten(1)
    masks = torch.cat([torch.zeros_like(count)[:, None], kind], 1).gather(1, front).view_as(rank)

    ground = u[:, None, None, -3:] * 0.3 + 0.35 + gratings(u[:, :-3].unflatten(1, (2, -1)), y, x)
    colour = each[..., 5:8].gather(1, (front - 1).clamp_min(0)[..., None].expand(-1, -1, 3)).view_as(noise)
    images = torch.where(rank[..., None] > 0, colour, ground) + 0.2 * (noise - 0.5)
    return (255 * images).round().clamp(0, 255).byte().numpy(), masks, kind.gather(1, count[:, None] - 1)[:, 0]


def key_of(seed: int, part: str) -> int:
    """Return the key of "train" or "test"."""
    return int(mix(mix(torch.tensor(seed) + GOLD) + (part == "test")))


def draw_shapes(kind: Tensor, u: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return which pixels lie in which shape, bool (N, 3, S, S), for kinds (N, 3), draws (N, 3, 9), pixels (S, S)."""
    row, column, radius, angle = u[..., 1:5].unflatten(-1, (4, 1)).unsqueeze(-1).unbind(2)
    radius, angle = 0.12 + 0.18 * radius, math.pi / 6 * (angle - 0.5)  # 15 degrees either way
    y, x = (y - 0.15 - 0.7 * row) / radius, (x - 0.15 - 0.7 * column) / radius
    return is_inside(kind, angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x)


class Shapes(ImageData):
    """Circles, squares and triangles of any colour on textured grounds: a class for each pixel, made by us.

    Batches are [images, masks], masks int64 (N, S, S) with 0 for the background. The images are drawn when a fit
    begins, about a thousand of 64 px per second, and kept in memory. An image depends only on (`shapes_seed`, part,
    index), so all runs share the images, and a larger set includes those of a smaller one. Colour and size do not
    reveal the class: shapes of the same radius have the same area. Splits, folds and `sampling` use the shape in front.

    Args:
        batch_size: images per batch and process.
        images, test_images: how many, >= 1; the validation part is taken from `images`.
        image_size: side in pixels, >= 8.
        shapes_seed: seed of the images, not of the run.
        options: `val_split`, `fold`, `fraction`, `split_seed`, ... as in `ImageData`.

    Raises:
        ValueError: an argument is out of range.
    """

    classes = ("background", "circle", "square", "triangle")
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(
        self,
        batch_size: int = 16,
        *,
        images: int = 1000,
        test_images: int = 200,
        image_size: int = 64,
        shapes_seed: int = 0,
        **options: Unpack[ImageOptions],
    ):
        super().__init__(batch_size, **options)
        if min(images, test_images) < 1 or image_size < 8:
            raise ValueError(
                f"Shapes needs images, test_images >= 1 and image_size >= 8, got {images}, {test_images}, {image_size}"
            )
        self.images, self.test_images = images, test_images
        self.image_size, self.shapes_seed = image_size, shapes_seed

    def setup(self, stage: str | None = None) -> None:
        """Draw the images that a stage needs."""
        # Lightning advises more workers if there are fewer than two; images in memory need none.
        warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
        super().setup(stage)

    def image_set(self, part: str) -> MemorySet | None:
        """Return the images and masks of "train" or "test"."""
        if part == "val":
            return None
        count = self.images if part == "train" else self.test_images
        key = key_of(self.shapes_seed, part)
        parts = [shapes(index, self.image_size, key) for index in torch.arange(count).split(CHUNK)]
        images, masks, kinds = zip(*parts, strict=True)
        return MemorySet(np.concatenate(images), torch.cat(masks), labels=torch.cat(kinds))
