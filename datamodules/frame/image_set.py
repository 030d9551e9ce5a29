"""The parts of a data module: images by index, a whole batch at a time."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

Items = Sequence[tuple[int, int]] | Sequence[int]
Copies = dict[int, Tensor]  # images on a device, by their address in memory


class ImageSet(Dataset[list[Tensor]]):
    """Images and their targets. A subclass returns batches in `__getitems__`, and implements `without_augmentation`.

    Args:
        targets: int64 (n,), or masks (n, S, S), or float32 (n, K) of 0 and 1: several labels an image.
        labels: int64 (n,), one class an image, to split masks by; None for `targets`.
    """

    def __init__(self, targets: Tensor, labels: Tensor | None = None):
        self.targets = targets
        if labels is None:
            labels = rarest_label(targets) if targets.is_floating_point() else targets
        self.labels = labels

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, items: Items) -> list[Tensor]:
        """Return [uint8 (N, C, S, S) or (N, V, C, S, S) for V views, targets (N, ...)] for items of `Order`."""
        raise NotImplementedError

    def without_augmentation(self) -> "ImageSet":
        """Return the same images, not augmented."""
        raise NotImplementedError

    def on_device(self, device: torch.device, limit: float, copies: Copies) -> "DeviceImages | None":
        """Return the images on a device, or None where that cannot be done.

        Args:
            device: of the network.
            limit: bytes that may be taken there.
            copies: images that are there already; new ones are added.
        """
        return None


class DeviceImages(Protocol):
    """Images on a device, which makes batches of them."""

    device: torch.device

    def batch(self, keys: Tensor, index: Tensor) -> list[Tensor]:
        """Return what `ImageSet.__getitems__` does, on the device, for keys and indices (N,) int64 there."""


def rarest_label(targets: Tensor) -> Tensor:
    """Return one class an image (n,), int64, to stratify several labels (n, K) by: its rarest label, else 0."""
    counts = targets.sum(0)
    return torch.where(targets > 0, -counts, -torch.inf).argmax(1)


class Counted(ImageSet):
    """The same images, with the length at which Lightning's BatchSizeFinder stops doubling."""

    def __init__(self, images: ImageSet, count: int):
        super().__init__(images.targets, images.labels)
        self.images, self.count = images, count

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, items: Items) -> list[Tensor]:
        """Return the images' batch."""
        return self.images.__getitems__(items)


def split_items(items: Items) -> tuple[Tensor, Tensor]:
    """Return keys and indices, int64 (N,) each, of (key, index) pairs as `Order` gives them.

    Plain indices, as from the sampler of `Trainer(overfit_batches=...)`, get key 0.
    """
    pairs = [(0, item) if isinstance(item, int) else item for item in items]
    keys, index = (torch.from_numpy(np.array(column, np.int64)) for column in zip(*pairs, strict=True))
    return keys, index
