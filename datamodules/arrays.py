"""Images in arrays: numpy's, torch's, or .npy files that stay on the disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.bands import MOST, check_scale
from datamodules.frame.image_set import Copies, Items
from datamodules.frame.memory import MemoryData, MemorySet, OnDevice, chunks
from datamodules.frame.options import Colours, Flip, ImageOptions
from datamodules.transforms import Spec

Array = NDArray[Any] | Tensor | str | Path


class Arrays(MemoryData):
    """Images in arrays: numpy's, torch's, or .npy files, which stay on the disk: `Arrays(images, targets)`.

    Images are square: (n, S, S), (n, S, S, C) or (n, C, S, S) with C from 1 to 16. They are bytes, or floats in [0, 1],
    which are converted to bytes; with a `scale`, numbers of any type, which keep their precision. Without `padding`,
    `flip`, `cutout` and `transform` (the default), bytes are not copied into memory, nor are 16 bits and float32.

    Args:
        images: training images, from which validation images are taken.
        targets: class indices from 0, (n,); or 0 and 1, (n, K), for several labels an image.
        batch_size: images a batch and process.
        val: images and targets for validation, instead of `val_split`.
        test: test images and targets.
        classes: names; by default "0", "1", ... up to the largest target.
        padding: width of the black border for the random crop, in pixels.
        flip: mirror each image left to right, as in `MemoryData`.
        channels: 3, or 1 for grey images; by default the images' own number.
        scale: the number that becomes 1, or one for each channel: 65535 for 16 bits, 1 for floats as they are. None:
            images are bytes, or become bytes.
        cutout, transform: as in `MemoryData`; no `transform` with a `scale`.
        mean, std: of each channel, in units of `scale`; measured on the training images by default.
        options: `val_split`, `split_seed`, `num_workers`, as in `ImageData`.

    Raises:
        ValueError: images with a wrong shape or range; targets that are not classes, or a wrong number of targets;
            parts of different channels.
    """

    def __init__(
        self,
        images: Array,
        targets: Array,
        batch_size: int = 128,
        *,
        val: tuple[Array, Array] | None = None,
        test: tuple[Array, Array] | None = None,
        classes: Sequence[str] | None = None,
        padding: int = 0,
        flip: Flip = False,
        cutout: int | None = None,
        transform: Spec | None = None,
        channels: int | None = None,
        scale: float | Sequence[float] | None = None,
        mean: Colours | None = None,
        std: Colours | None = None,
        **options: Unpack[ImageOptions],
    ):
        given = {"train": (images, targets), "val": val, "test": test}
        self.parts = {
            part: (as_images(pair[0], part), as_classes(pair[1], part)) for part, pair in given.items() if pair
        }
        if val is not None and (options.get("val_split") is not None or options.get("folds") is not None):
            raise ValueError("val= gives the validation images: leave out val_split and folds, or leave out val")
        self.own_channels = self.parts["train"][0].shape[3]
        self.scale = None if scale is None else check_scale(scale, self.own_channels)
        if self.scale is not None and (transform is not None or channels not in (None, self.own_channels)):
            raise ValueError("transform and channels need images of bytes: leave them out, or leave out scale")
        self._check_channels()
        super().__init__(
            batch_size,
            padding=padding,
            flip=flip,
            cutout=cutout,
            transform=transform,
            channels=self.own_channels if channels is None else channels,
            mean=mean,
            std=std,
            **options,
        )
        kinds = {found.shape[1:] for _, found in self.parts.values()}
        if len(kinds) > 1:
            raise ValueError(f"train, val and test must have targets of one kind, got {sorted(kinds)}")
        self.multi_label = kinds != {()}
        count = kinds.pop()[0] if self.multi_label else self._highest() + 1
        self.classes = tuple(map(str, range(count)) if classes is None else classes)
        self.image_size = self.parts["train"][0].shape[1]

    def _check_channels(self) -> None:
        """Raise a ValueError if parts differ in their channels; grey and colours are converted."""
        found = {part: images.shape[3] for part, (images, _) in self.parts.items()}
        if len(set(found.values())) > 1 and (self.scale is not None or not set(found.values()) <= {1, 3}):
            raise ValueError(f"train, val and test must have the same channels, got {found}")

    def _highest(self) -> int:
        return max(int(found.max(initial=0)) for _, found in self.parts.values())

    def read(self, part: str) -> tuple[NDArray[np.uint8], Tensor] | None:
        """Return images and classes of a part, the images converted to bytes, or with a `scale` seen as bytes."""
        if part not in self.parts:
            return None
        images, targets = self.parts[part]
        if self.scale is None:
            return as_bytes(images, part), torch.from_numpy(targets)
        return np.ascontiguousarray(as_numbers(images, part)).view(np.uint8), torch.from_numpy(targets)

    def image_set(self, part: str) -> MemorySet | None:
        """Return the set of a part, augmented for "train"."""
        found = super().image_set(part)
        if found is None or self.scale is None:
            return found
        kind = stored_type(self.parts[part][0].dtype)
        return NumberSet(found.images, found.targets, found.augment, kind=kind, scale=self.scale)

    def mean_and_std(self, images: MemorySet) -> tuple[Colours, Colours]:
        """Return mean and standard deviation of each channel, over all pixels of all images, in units of `scale`."""
        if not isinstance(images, NumberSet):
            return super().mean_and_std(images)
        return images.measure()


class NumberSet(MemorySet):
    """Images of other numbers than bytes, (n, S, S, C); returns float32 batches, divided by a scale.

    Bytes are what crop, flip and cutout move, so the images are seen as uint8 (n, S, S, C B) of B bytes a number.

    Args:
        images, targets, augment, labels: as in `MemorySet`.
        kind: type of the numbers.
        scale: (C,) of each channel.
    """

    def __init__(self, *arguments: Any, kind: np.dtype[Any], scale: Colours, **more: Any):
        super().__init__(*arguments, **more)
        self.kind, self.scale = kind, scale

    def __getitems__(self, items: Items) -> list[Tensor]:
        """Return [float32 (N, C, S, S), int64 (N,)] for (key, index) pairs of `Order`, or for plain indices."""
        images, targets = super().__getitems__(items)
        numbers = images.permute(0, 2, 3, 1).numpy().view(self.kind)
        return [torch.from_numpy(numbers / np.array(self.scale, np.float32)).permute(0, 3, 1, 2), targets]

    def without_augmentation(self) -> "NumberSet":
        """Return the same images in the same memory, not augmented."""
        return NumberSet(self.images, self.targets, labels=self.labels, kind=self.kind, scale=self.scale)

    def on_device(self, device: torch.device, limit: float, copies: Copies) -> "NumbersOnDevice | None":
        """Return the images on a device, as `MemorySet` does."""
        found = super().on_device(device, limit, copies)
        return None if found is None else NumbersOnDevice(found, self.kind, self.scale)

    def measure(self) -> tuple[Colours, Colours]:
        """Return mean and standard deviation of each channel, (C,) each; of a constant channel 1."""
        pieces, axes = chunks(self.images.view(self.kind)), (0, 1, 2)
        count = self.images[..., 0].size
        mean = np.sum([piece.sum(axes, dtype=np.float64) for piece in pieces], 0) / count
        variance = np.sum([((piece - mean) ** 2).sum(axes) for piece in pieces], 0) / count
        std = np.where(variance > 0, np.sqrt(variance), self.scale)
        return tuple((mean / self.scale).tolist()), tuple((std / self.scale).tolist())


class NumbersOnDevice(OnDevice):
    """Images of a `NumberSet` on a device.

    Args:
        there: the same images, seen as bytes.
        kind, scale: as in `NumberSet`.
    """

    def __init__(self, there: OnDevice, kind: np.dtype[Any], scale: Colours):
        super().__init__(there.images, there.targets, there.augment)
        self.kind, self.scale = torch.from_numpy(np.empty(0, kind)).dtype, torch.tensor(scale, device=there.device)

    def batch(self, keys: Tensor, index: Tensor) -> list[Tensor]:
        """Return [float32 (N, C, S, S), targets], as `NumberSet.__getitems__`, for (N,) int64 on the device."""
        images, targets = super().batch(keys, index)
        numbers = images.permute(0, 2, 3, 1).contiguous().view(self.kind)
        return [(numbers.float() / self.scale).permute(0, 3, 1, 2), targets]


def load(array: Array) -> NDArray[Any]:
    """Return a numpy array: a memory map of a .npy file, or a view of a tensor."""
    if isinstance(array, str | Path):
        return np.asarray(np.load(array, mmap_mode="r", allow_pickle=False))
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def as_images(array: Array, part: str) -> NDArray[Any]:
    """Return images as a view (n, S, S, C). Raise a ValueError for other shapes."""
    images = load(array)
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[1] != images.shape[2]:
        images = np.moveaxis(images, 1, 3)
    if images.ndim != 4 or images.shape[3] > MOST or images.shape[1] != images.shape[2] or len(images) == 0:
        raise ValueError(
            f"{part}: images must be (n, S, S), (n, S, S, C) or (n, C, S, S), square and of 1 to {MOST} channels, got "
            f"{load(array).shape}: crop or resize them before"
        )
    return images


def stored_type(kind: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that numbers are kept in, in the machine's order: their own of 8 or 16 bits, else float32."""
    return kind.newbyteorder("=") if kind.kind in "ui" and kind.itemsize <= 2 else np.dtype(np.float32)


def as_numbers(images: NDArray[Any], part: str) -> NDArray[Any]:
    """Return images as numbers of 8 or 16 bits or float32. Raise a ValueError for others, and for NaN and infinity."""
    if images.dtype.kind not in "uif" or not all(np.isfinite(piece).all() for piece in chunks(images)):
        raise ValueError(f"{part}: images must be finite numbers, got {images.dtype}: repair them")
    return images.astype(stored_type(images.dtype), copy=False)


def as_classes(array: Array, part: str) -> NDArray[Any]:
    """Return classes as int64 (n,), or labels as float32 (n, K). Raise a ValueError for other numbers."""
    targets = load(array)
    if targets.ndim == 2:
        if not np.isin(targets, (0, 1)).all():
            raise ValueError(f"{part}: targets {targets.shape} with several labels per image must be 0 or 1")
        return targets.astype(np.float32)
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer) or targets.min(initial=0) < 0:
        raise ValueError(
            f"{part}: targets must be integer classes from 0, of shape (n,), got {targets.dtype} {targets.shape}"
        )
    return targets.astype(np.int64)


def as_bytes(images: NDArray[Any], part: str) -> NDArray[np.uint8]:
    """Return the images as bytes; floats in [0, 1] times 255. Raise a ValueError for other numbers."""
    if images.dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    if not np.issubdtype(images.dtype, np.floating) or not (low >= 0 and high <= 1):
        raise ValueError(
            f"{part}: images must be bytes, or floats in [0, 1], got {images.dtype} from {low} to {high}: give scale=, "
            "such as 65535 for 16 bits"
        )
    converted = np.empty(images.shape, np.uint8)
    for piece, place in zip(chunks(images), chunks(converted), strict=True):
        np.rint(piece * 255, out=place, casting="unsafe")
    return converted
