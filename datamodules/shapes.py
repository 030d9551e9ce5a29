"""Circles, squares and triangles on textured backgrounds, with masks or boxes: no download."""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.boxes import BoxData, MemoryBoxes, Target
from datamodules.frame.image_data import ImageData
from datamodules.frame.image_set import ImageSet
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


class Scene(NamedTuple):
    """Images, and what is to be seen.

    Attributes:
        images: uint8 (N, S, S, 3).
        there: which pixels each shape covers, hidden or not, bool (N, 3, S, S).
        rank: (N, S, S) int64, the number of the shape in front at each pixel, from 1; 0: none.
        kind: (N, 3) int64, of each shape: 1 circle, 2 square, 3 triangle.
        number: (N,) int64, of shapes in each image.
    """

    images: NDArray[np.uint8]
    there: Tensor
    rank: Tensor
    kind: Tensor
    number: Tensor


def scene(index: Tensor, size: int, key: int) -> Scene:
    """Draw images, each a function of (key, index) alone.

    One to three shapes of random kind, position, size (a circle's radius is .12 to .3 of the side), tilt and colour,
    the later ones in front; two waves of colour behind; noise over all.

    Args:
        index: (N,) int64, which images.
        size: side, in pixels.
        key: of the set.
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

    ground = u[:, None, None, -3:] * 0.3 + 0.35 + gratings(u[:, :-3].unflatten(1, (2, -1)), y, x)
    colour = each[..., 5:8].gather(1, (front - 1).clamp_min(0)[..., None].expand(-1, -1, 3)).view_as(noise)
    images = torch.where(rank[..., None] > 0, colour, ground) + 0.2 * (noise - 0.5)
    return Scene((255 * images).round().clamp(0, 255).byte().numpy(), there, rank, kind, count)


def shapes(index: Tensor, size: int, key: int) -> tuple[NDArray[np.uint8], Tensor, Tensor]:
    """Draw a `scene`: images uint8 (N, S, S, 3), masks int64 (N, S, S) with 0 for the ground, kinds (N,) in front."""
    drawn = scene(index, size, key)
    kinds = torch.cat([torch.zeros_like(drawn.number)[:, None], drawn.kind], 1)
    masks = kinds.gather(1, drawn.rank.flatten(1)).view_as(drawn.rank)
    return drawn.images, masks, drawn.kind.gather(1, drawn.number[:, None] - 1)[:, 0]


def boxes_of(drawn: Scene) -> list[Target]:
    """Return the boxes of what is to be seen of each shape, in pixels, and its class: 0 circle, 1 square, 2 triangle.

    A shape of which less than a quarter is to be seen has none.
    """
    seen = drawn.rank[:, None] == torch.arange(1, SLOTS + 1).view(-1, 1, 1)
    keep = (4 * seen.sum((2, 3)) >= drawn.there.sum((2, 3))) & seen.any(-1).any(-1)
    low, high = [], []
    for line in (seen.any(2), seen.any(3)):  # columns, rows: (N, 3, S)
        low.append(line.byte().argmax(-1))
        high.append(line.shape[-1] - line.flip(-1).byte().argmax(-1))
    boxes = torch.stack([*low, *high], -1).float()
    found = zip(boxes, drawn.kind, keep, strict=True)
    return [{"boxes": box[there], "labels": kind[there] - 1} for box, kind, there in found]


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

    task = "segmentation"
    classes: tuple[str, ...] = ("background", "circle", "square", "triangle")
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

    def image_set(self, part: str) -> ImageSet | None:
        """Return the images and masks of "train" or "test"."""
        if part == "val":
            return None
        parts = [shapes(index, self.image_size, key_of(self.shapes_seed, part)) for index in self._indices(part)]
        images, masks, kinds = zip(*parts, strict=True)
        return MemorySet(np.concatenate(images), torch.cat(masks), labels=torch.cat(kinds))

    def _indices(self, part: str) -> Sequence[Tensor]:
        return torch.arange(self.images if part == "train" else self.test_images).split(CHUNK)


class ShapeBoxes(BoxData, Shapes):
    """The images of `Shapes` with a box around what is to be seen of each shape: detection without a download.

    Batches are [images, targets], targets a list of dicts: see `BoxData`. A shape of which less than a quarter is to be
    seen has no box.

    Args:
        batch_size, images, test_images, image_size, shapes_seed, options: as in `Shapes`.

    Raises:
        ValueError: an argument is out of range.
    """

    task = "detection"
    classes = ("circle", "square", "triangle")

    def image_set(self, part: str) -> ImageSet | None:
        """Return the images and boxes of "train" or "test"."""
        if part == "val":
            return None
        parts = [scene(index, self.image_size, key_of(self.shapes_seed, part)) for index in self._indices(part)]
        images = np.concatenate([drawn.images for drawn in parts])
        return MemoryBoxes(images, [target for drawn in parts for target in boxes_of(drawn)])
