"""Images in arrays: numpy's, torch's, or .npy files that stay on the disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.memory import MemoryData, chunks
from datamodules.frame.options import Colours, Flip, ImageOptions
from datamodules.transforms import Spec

Array = NDArray[Any] | Tensor | str | Path


class Arrays(MemoryData):
    """Images in arrays: numpy's, torch's, or .npy files, which stay on the disk: `Arrays(images, targets)`.

    Images are square: (n, S, S), (n, S, S, C) or (n, C, S, S) with C of 1 or 3. They are bytes, or floats in [0, 1],
    which are converted to bytes. Without `padding`, `flip`, `cutout` and `transform` (the default), bytes are not
    copied into memory.

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
        cutout, transform: as in `MemoryData`.
        mean, std: of each channel; measured on the training images by default.
        options: `val_split`, `split_seed`, `num_workers`, as in `ImageData`.

    Raises:
        ValueError: images with a wrong shape or range; targets that are not classes, or a wrong number of targets.
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
        super().__init__(
            batch_size,
            padding=padding,
            flip=flip,
            cutout=cutout,
            transform=transform,
            channels=self.parts["train"][0].shape[3] if channels is None else channels,
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

    def _highest(self) -> int:
        return max(int(found.max(initial=0)) for _, found in self.parts.values())

    def read(self, part: str) -> tuple[NDArray[np.uint8], Tensor] | None:
        """Return images and classes of a part, the images converted to bytes."""
        if part not in self.parts:
            return None
        images, targets = self.parts[part]
        return as_bytes(images, part), torch.from_numpy(targets)


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
    elif images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = np.moveaxis(images, 1, 3)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.shape[1] != images.shape[2] or len(images) == 0:
        raise ValueError(
            f"{part}: images must be (n, S, S), (n, S, S, C) or (n, C, S, S), square and of 1 or 3 channels, got "
            f"{load(array).shape}: crop or resize them before"
        )
    return images


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
            f"{part}: images must be bytes, or floats in [0, 1], got {images.dtype} from {low} to {high}: scale them"
        )
    return np.concatenate([np.rint(piece * 255).astype(np.uint8) for piece in chunks(images)])
