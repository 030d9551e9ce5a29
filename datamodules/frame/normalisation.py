"""Convert bytes to normalised floats on the network's device, and back for display."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor

from datamodules.frame.options import Colours
from datamodules.frame.tensor import normalise
from datamodules.transforms.whitening import Whitening


@runtime_checkable
class Invertible(Protocol):
    """An invertible map of images, such as `Whitening`."""

    def undo(self, images: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) of float images."""


class Normalised(L.LightningDataModule):
    """Abstract. Converts uint8 images to float32, (images / 255 - mean) / std, on the network's device.

    With a `scale`, images arrive as floats that were divided by it.
    """

    image_size: int
    channels = 3
    mean: Colours | None = None
    std: Colours | None = None
    scale: Colours | None = None  # of images that are no bytes: what becomes 1, of each channel
    whitening: Callable[[Tensor], Tensor] | None = None

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """Preprocessing of a picture of any size in evaluation, as plain values; None if they cannot express it.

        It is known after `setup`, as mean and std are.
        """
        return self.middle_square

    @property
    def middle_square(self) -> dict[str, Any] | None:
        """Preprocessing that crops the centre square and resizes it to `image_size`."""
        if self.mean is None or self.std is None:
            return None
        found: dict[str, Any] = {"size": self.image_size, "short_side": self.image_size}
        found |= {"interpolation": "bilinear", "views": "center"}
        if isinstance(self.whitening, Whitening):  # of pixels in [0, 1], so it takes the place of mean and std
            zeros, ones = [0.0] * self.channels, [1.0] * self.channels
            return {**found, "mean": zeros, "std": ones, "whitening": self.whitening.plain()}
        if self.whitening is not None:
            return None
        scale = {} if self.scale is None else {"scale": list(self.scale)}
        return {**found, "mean": list(self.mean), "std": list(self.std), **scale}

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> list[Tensor]:
        """Normalise uint8 images to floats in the trainer's precision; leave float images unchanged without a `scale`.

        Images may have several views, (N, V, C, H, W).
        """
        images, targets = batch
        if self.scale is None and images.dtype != torch.uint8:
            return batch
        flat = self._normalise(images.flatten(0, -4))  # views
        images = flat.unflatten(0, images.shape[:-3])
        if self.trainer is not None:  # because Lightning cast the batch before, when it was bytes
            images = self.trainer.precision_plugin.convert_input(images)
        return [images, targets]

    def _normalise(self, images: Tensor) -> Tensor:
        if self.whitening is not None:
            return self.whitening(images)
        if self.scale is None:
            return normalise(images, *self._colours())
        mean, std = (images.new_tensor(numbers).view(-1, 1, 1) for numbers in self._colours())
        return (images - mean) / std

    def _colours(self) -> tuple[Colours, Colours]:
        if self.mean is None or self.std is None:
            raise RuntimeError(f"{type(self).__name__} has no mean and std yet: call setup() first")
        return self.mean, self.std

    def _as_bytes(self, images: Tensor) -> Tensor:
        """Undo `on_after_batch_transfer`, up to rounding."""
        if not images.is_floating_point():
            return images
        if isinstance(self.whitening, Invertible):
            return self.whitening.undo(images)
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in self._colours())
        return ((images.float() * std + mean) * 255).round().clamp(0, 255).byte()
