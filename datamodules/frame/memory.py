"""Data sets that fit in memory: the images as bytes, augmented a batch at a time."""

import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.frame.image_data import ImageData
from datamodules.frame.order import draws, mix, seeded
from datamodules.frame.tensor import Store, crop, cutout
from datamodules.transforms import train_transform

Flip = bool | Literal["alternating"]


class Augment:
    """Random crop, flip, whatever else an image at a time, and hole, in this order.

    Args:
        images: uint8 (n, S, S, 3).
        padding, flip, cutout: as in `MemoryData`.
        transform: uint8 (3, S, S) -> uint8 (3, S, S), or None.
    """

    def __init__(
        self, images: np.ndarray, padding: int, flip: Flip, cutout: int | None, transform: Callable | None = None
    ):
        self.store, self.flip, self.cutout = Store(images, padding, mirrored=bool(flip)), flip, cutout
        self.transform = transform

    def __call__(self, index: Tensor, key: int | Tensor) -> np.ndarray:
        """Images (N,), with a key each or one for all -> augmented (N, S, S, 3).

        The draws have fixed numbers: no option changes another's.
        """
        u = draws(index, 5, key)
        top, left = (u[:, :2] * (2 * self.store.padding + 1)).long().numpy().T
        flipped = alternating(index, key) if self.flip == "alternating" else (u[:, 2] < 0.5) & self.flip
        images = crop(self.store, index.numpy(), top, left, flipped.numpy())
        if self.transform is not None:
            transform_each(self.transform, images, index, key)
        if self.cutout is not None:
            y, x = (u[:, 3:] * self.store.side).long().numpy().T
            cutout(images, y, x, self.cutout)
        return images


def alternating(index: Tensor, key: int | Tensor) -> Tensor:
    """Which images are mirrored: half of them in even epochs, the others in odd ones. (N,) int64 -> (N,) bool."""
    return ((mix(index) ^ key) & 1).bool()


def transform_each(transform: Callable, images: np.ndarray, index: Tensor, key: int | Tensor) -> None:
    """Transforms images (N, S, S, 3) in place, one at a time, each with the draws of its own (key, index)."""
    keys = torch.as_tensor(key).expand(len(index))
    with seeded() as seed:
        for i, its_key in enumerate(keys.tolist()):
            seed(its_key, int(index[i]))
            image = transform(torch.from_numpy(images[i]).permute(2, 0, 1))
            check_transformed(image, images.shape[1])
            images[i] = image.permute(1, 2, 0).numpy()  # it may be a view of images[i]: numpy sees to that


def check_transformed(image: Tensor, side: int) -> None:
    """Raises a ValueError unless this is an image of bytes, of the side that it had."""
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.shape == (3, side, side):
        return
    got = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
    raise ValueError(
        f"transform must give a torch.uint8 (3, {side}, {side}) image back, got {got}: conversion to float and "
        "normalisation are the data module's, and all images keep their size"
    )


class MemorySet(Dataset):
    """Images uint8 (n, S, S, 3) and targets int64 in memory; gives whole batches.

    Targets are (n,), or masks (n, S, S), which come with labels (n,) to split them by and without `augment`.
    """

    def __init__(
        self, images: np.ndarray, targets: Tensor, augment: Augment | None = None, labels: Tensor | None = None
    ):
        self.images, self.targets, self.augment = images, targets, augment
        self.labels = targets if labels is None else labels

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, items: list[tuple[int, int]] | list[int]) -> list[Tensor]:
        """(key, index) pairs, as `Order` gives them -> [uint8 (N, 3, S, S), int64 (N,)].

        Plain indices get key 0: `Trainer(overfit_batches=...)` puts in a sampler that gives nothing else.
        """
        pairs = [(0, item) if isinstance(item, int) else item for item in items]
        keys, index = (torch.from_numpy(np.array(column, np.int64)) for column in zip(*pairs, strict=True))
        images = self.images[index.numpy()] if self.augment is None else self.augment(index, keys)
        return [torch.from_numpy(images).permute(0, 3, 1, 2), self.targets[index]]

    def plain(self) -> "MemorySet":
        """The same images in the same memory, not augmented."""
        return MemorySet(self.images, self.targets, labels=self.labels)


class MemoryData(ImageData):
    """Abstract. A subclass has `classes` and `image_size`, and reads its images as bytes into memory.

    Args:
        batch_size: images a batch and process.
        padding: pixels of black around the image from which a crop of the image's size is taken at random; 0 for none.
        flip: mirror each image left to right with probability 1/2; takes the training images' memory once more.
            "alternating": one half of the images in even epochs, the other half in odd ones, so that two epochs show
            every image both ways (Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.6; there the first half is
            drawn anew by each seed, here it follows from the images' numbers).
        cutout: side of a black square at a random place, in pixels; None for none.
        transform: what else to do to a training image, after crop and flip: a name of `datamodules.transforms`
            ("randaugment"), a callable of uint8 (3, S, S) to the same (any transform of torchvision's v2), or a list of
            these. It runs an image at a time, and costs accordingly: RandAugment 0.3 ms an image of 32 x 32 pixels,
            where crop and flip cost a microsecond. The draws are each image's own, from torch's CPU generator only.
        mean, std: of the three colours, in units of the range [0, 1]; None for the data set's own (where it has none,
            they are measured on all training images, the validation part included as in the literature).
        options: `val_split`, `split_seed`, `num_workers`, as in `ImageData`. Leave `num_workers` at 0: a batch is made
            sooner than a worker can send it.
    """

    def __init__(
        self,
        batch_size: int = 128,
        *,
        padding: int = 4,
        flip: Flip = True,
        cutout: int | None = None,
        transform: str | Callable | list | None = None,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        **options,
    ):
        super().__init__(batch_size, **options)
        self.padding, self.flip, self.cutout, self.transform = padding, flip, cutout, transform
        if flip not in (True, False, "alternating"):
            raise ValueError(f"flip must be True, False or 'alternating', got {flip!r}")
        if cutout is not None and cutout < 1:
            raise ValueError(f"cutout must be a side of at least 1 pixel, got {cutout}; None for no cutout")
        if (mean is None) != (std is None):
            raise ValueError("mean and std belong together: give both, or neither for the data set's own")
        if mean is not None:
            self.mean, self.std = tuple(mean), tuple(std)
        if self.num_workers > 0:
            warnings.warn(
                f"num_workers={self.num_workers}: workers make images in memory several times slower; use 0",
                stacklevel=3,
            )

    def read(self, part: str) -> tuple[np.ndarray, Tensor] | None:
        """uint8 (n, S, S, 3) and int64 (n,) of "train", "val" or "test"; None if the data set has no such part."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        # Lightning advises many workers wherever it sees less than two: wrong for images in memory.
        warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
        super().setup(stage)
        if self.mean is None:
            self._load_training()
            self.mean, self.std = measure(self.train_set.images)

    def image_set(self, part: str) -> MemorySet | None:
        found = self.read(part)
        if found is None:
            return None
        images, targets = np.ascontiguousarray(found[0]), found[1]  # torchvision's CIFAR is planes, turned by strides
        check(images, targets, self.num_classes, part)
        if part != "train":
            return MemorySet(images, targets)
        augment = Augment(images, self.padding, self.flip, self.cutout, self._image_transform())
        return MemorySet(augment.store.images, targets, augment)

    def _image_transform(self) -> Callable | None:
        if self.transform is None or callable(self.transform):
            return self.transform
        return train_transform(self.transform, self.image_size)


def check(images: np.ndarray, targets: Tensor, num_classes: int, part: str) -> None:
    """Raises a ValueError unless these are square RGB images of bytes, and one class in [0, K) for each."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(f"{part}: images must be uint8 (n, S, S, 3), got {images.dtype} {images.shape}")
    if len(images) == 0 or targets.dtype != torch.int64 or targets.shape != (len(images),):
        raise ValueError(
            f"{part}: {len(images)} images, and {targets.dtype} {tuple(targets.shape)} targets, not int64 (n,)"
        )
    low, high = targets.aminmax()
    if low < 0 or high >= num_classes:
        raise ValueError(f"{part}: targets must be in [0, {num_classes}), got {low} to {high}: check the labels")


def measure(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each colour over all pixels, of uint8 (n, S, S, 3), in units of [0, 1]."""
    counts = np.zeros((3, 256), np.int64)
    for chunk in np.array_split(images, max(1, len(images) // 1000)):  # bincount makes int64 of its input
        counts += [np.bincount(chunk[..., channel].reshape(-1), minlength=256) for channel in range(3)]
    weights, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = weights @ values
    variance = weights @ values**2 - mean**2
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())
