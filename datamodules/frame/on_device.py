"""Images in memory on the training device: a batch is index arithmetic there, with the draws of the path on the CPU.

Order and draws are functions of (seed, epoch, image) on integers, so that the same images come out, bit for bit.
Nothing is copied between devices but the order, once an epoch.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from datamodules.frame.image_set import DeviceImages
from datamodules.frame.loader import ResumableLoader
from datamodules.frame.order import Order

SHARE = 0.25  # of a device's free memory that images may take, where `device_data="auto"`


def crop(images: Tensor, index: Tensor, top: Tensor, left: Tensor, flip: Tensor, padding: int, border: str) -> Tensor:
    """Do the same as `datamodules.frame.tensor.crop`, on any device.

    Args:
        images: uint8 (n, S, S, C).
        index, top, left: (N,) int64, as there.
        flip: (N,) bool.
        padding: p.
        border: "black" or "reflect".

    Returns:
        uint8 (N, S, S, C).
    """
    side = images.shape[1]
    pixel = torch.arange(side, device=images.device)
    y = (top - padding)[:, None] + pixel
    x = (left - padding)[:, None] + torch.where(flip[:, None], side - 1 - pixel, pixel)
    inside = (inside_of(y, side)[:, :, None] & inside_of(x, side)[:, None, :])[..., None]
    y, x = ((side - 1 - (side - 1 - at.abs()).abs()).clamp(0, side - 1) for at in (y, x))  # reflected
    found = images[index[:, None, None], y[:, :, None], x[:, None, :]]
    return found if border == "reflect" or padding == 0 else found * inside


def inside_of(at: Tensor, side: int) -> Tensor:
    """Return whether positions are in [0, S): bool of the same shape."""
    return (at >= 0) & (at < side)


def cutout(images: Tensor, y: Tensor, x: Tensor, side: int) -> Tensor:
    """Do the same as `datamodules.frame.tensor.cutout`, on any device, not in place."""
    pixel = torch.arange(images.shape[1], device=images.device)
    rows, columns = (inside_of(pixel - (centre - side // 2)[:, None], side) for centre in (y, x))
    return images * ~(rows[:, :, None] & columns[:, None, :])[..., None]


class DeviceLoader(ResumableLoader):
    """A loader whose batches are made on a device, by `images`."""

    images: DeviceImages

    def _batches(self) -> Iterator[list[Tensor]]:
        if not isinstance(self.sampler, Order):  # the sampler of Trainer(overfit_batches=...)
            yield from super()._batches()
            return
        keys, index = (part.to(self.images.device) for part in self.sampler.items())
        for key, which in zip(keys.split(self._size), index.split(self._size), strict=True):
            if len(which) == self._size or not self.drop_last:
                yield self.images.batch(key, which)
