"""Data sets in memory: images are bytes, augmented a batch at a time."""

import warnings
from pathlib import Path
from typing import TypeVar, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame import on_device
from datamodules.frame.byte_file import check_map
from datamodules.frame.image_data import ImageData
from datamodules.frame.image_set import Copies, ImageSet, Items, split_items
from datamodules.frame.options import Colours, Flip, ImageOptions, check_colours
from datamodules.frame.order import draws, lend_generator, mix
from datamodules.frame.tensor import Bytes, ReflectedStore, Store, crop, cutout
from datamodules.transforms import Operation, Spec, train_transform
from datamodules.transforms.grey import grey, rgb

Number = TypeVar("Number", bound=np.generic)


class Augment:
    """Apply random crop, flip, the transform of each image, and cutout, in this order.

    Args:
        images: uint8 (n, S, S, C).
        padding, flip, cutout: as in `MemoryData`.
        transform: uint8 (3, S, S) -> uint8 (3, S, S), or None. It gets grey images with three equal channels.
        border: as in `MemoryData`.
    """

    store: Store | ReflectedStore

    def __init__(
        self,
        images: Bytes,
        padding: int,
        flip: Flip,
        cutout: int | None,
        transform: Operation | None = None,
        border: str = "black",
    ):
        reflected = border == "reflect"
        self.store = ReflectedStore(images, padding) if reflected else Store(images, padding, mirrored=bool(flip))
        self.flip, self.cutout, self.transform, self.border = flip, cutout, transform, border

    def __call__(self, index: Tensor, key: int | Tensor) -> Bytes:
        """Return augmented images (N, S, S, C) for indices (N,) and one key, or a key for each."""
        top, left, flipped, y, x = (part.numpy() for part in self.draw(index, key))
        images = crop(self.store, index.numpy(), top, left, flipped)
        if self.transform is not None:
            transform_each(self.transform, images, index, key)
        return images if self.cutout is None else cutout(images, y, x, self.cutout)

    def draw(self, index: Tensor, key: int | Tensor) -> tuple[Tensor, ...]:
        """Draw top, left, flip of the crop and y, x of the hole, (N,) each, on the index's device.

        Each option has its own numbered draws, so that no option changes those of another.
        """
        u = draws(index, 5, key)
        top, left = (u[:, :2] * (2 * self.store.padding + 1)).long().unbind(1)
        flipped = alternate(index, key) if self.flip == "alternating" else (u[:, 2] < 0.5) & bool(self.flip)
        return top, left, flipped, *(u[:, 3:] * self.store.side).long().unbind(1)

    def there(self, images: Tensor, index: Tensor, key: Tensor) -> Tensor:
        """Do the same with tensors on any device: `images` are all, uint8 (n, S, S, C)."""
        top, left, flipped, y, x = self.draw(index, key)
        images = on_device.crop(images, index, top, left, flipped, self.store.padding, self.border)
        return images if self.cutout is None else on_device.cutout(images, y, x, self.cutout)


def alternate(index: Tensor, key: int | Tensor) -> Tensor:
    """Choose the images to mirror: half in even epochs, the others in odd ones. (N,) int64 -> (N,) bool."""
    return ((mix(index) ^ key) & 1).bool()


def transform_each(transform: Operation, images: Bytes, index: Tensor, key: int | Tensor) -> None:
    """Transform images (N, S, S, C) in place, one at a time, each with the draws of its own (key, index)."""
    keys, channels = torch.as_tensor(key).expand(len(index)), images.shape[3]
    with lend_generator() as seed:
        for i, its_key in enumerate(keys.tolist()):
            seed(its_key, int(index[i]))
            picture = torch.from_numpy(images[i]).permute(2, 0, 1)
            image = transform(rgb(picture) if channels == 1 else picture)
            check_transformed(image, images.shape[1], 3 if channels == 1 else channels)
            image = grey(image) if channels == 1 else image
            images[i] = image.permute(1, 2, 0).numpy()  # may be a view of images[i], which numpy handles


def check_transformed(image: Tensor, side: int, channels: int = 3) -> None:
    """Raise a ValueError unless this is a uint8 image of the original size."""
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.shape == (channels, side, side):
        return
    got = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
    raise ValueError(
        f"transform must give a torch.uint8 ({channels}, {side}, {side}) image back, got {got}: conversion to float "
        "and normalisation are the data module's, and all images keep their size"
    )


class MemorySet(ImageSet):
    """Images uint8 (n, S, S, C) and targets int64 in memory; returns whole batches.

    Targets are (n,), or masks (n, S, S). Masks need labels (n,) to stratify splits by, and take no `augment`.
    """

    def __init__(self, images: Bytes, targets: Tensor, augment: Augment | None = None, labels: Tensor | None = None):
        super().__init__(targets, labels)
        self.images, self.augment = images, augment

    def __getitems__(self, items: Items) -> list[Tensor]:
        """Return [uint8 (N, C, S, S), int64 (N,)] for (key, index) pairs of `Order`, or for plain indices."""
        keys, index = split_items(items)
        check_map(self.images)
        images = self.images[index.numpy()] if self.augment is None else self.augment(index, keys)
        return [torch.from_numpy(images).permute(0, 3, 1, 2), self.targets[index]]

    def without_augmentation(self) -> "MemorySet":
        """Return the same images in the same memory, not augmented."""
        return MemorySet(self.images, self.targets, labels=self.labels)

    def on_device(self, device: torch.device, limit: float, copies: Copies) -> "OnDevice | None":
        """Return the images on a device; None if they take more than `limit` bytes, or have transforms of their own."""
        transformed = self.augment is not None and self.augment.transform is not None
        address = self.images.ctypes.data
        if transformed or (address not in copies and self.images.nbytes + self.targets.nbytes > limit):
            return None
        if address not in copies:
            copies[address] = torch.from_numpy(np.ascontiguousarray(self.images)).to(device)
        return OnDevice(copies[address], self.targets.to(device), self.augment)


class OnDevice:
    """Images of a `MemorySet` on a device.

    Args:
        images: uint8 (n, S, S, C).
        targets: (n, ...), on the same device.
        augment: as in `MemorySet`.
    """

    def __init__(self, images: Tensor, targets: Tensor, augment: Augment | None):
        self.images, self.targets, self.augment, self.device = images, targets, augment, images.device

    def batch(self, keys: Tensor, index: Tensor) -> list[Tensor]:
        """Return [uint8 (N, C, S, S), targets], as `MemorySet.__getitems__`, for (N,) int64 on the device."""
        images = self.images[index] if self.augment is None else self.augment.there(self.images, index, keys)
        return [images.permute(0, 3, 1, 2), self.targets[index]]


class MemoryData(ImageData):
    """Abstract. A subclass has `classes` and `image_size`, and reads its images as bytes into memory.

    Args:
        batch_size: images a batch and process.
        padding: width of the border, in pixels, before a random crop of the original size; 0 for none.
        border: "black" (He et al. 2015), or "reflect": the image's own pixels, mirrored at its edges; twice the memory.
        flip: mirror each image left to right with probability 1/2; doubles the memory of the training images.
            "alternating": mirror one half of the images in even epochs, the other half in odd ones, so that two epochs
            show every image both ways (Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.6; there each seed
            draws the first half, here it depends on the images' indices only).
        cutout: side of a black square at a random position, in pixels; None for none.
        transform: further transform of a training image, after crop and flip: a name of `datamodules.transforms`
            ("randaugment"), a callable of uint8 (3, S, S) to the same (any transform of torchvision's v2), or a list of
            these. It runs on one image at a time: RandAugment takes 0.3 ms for an image of 32 x 32 pixels, crop and
            flip a microsecond. Each image has its own draws, from torch's CPU generator only.
        channels: 1 converts colour images to grey; 3 gives grey images three equal channels. By default the data set's
            own number.
        mean, std: of each channel, in units of the range [0, 1]; None for the data set's own (if it has none, they are
            measured on all training images, including the validation part, as in the literature).
        options: `val_split`, `split_seed`, `num_workers`, as in `ImageData`. Leave `num_workers` at 0: making a batch
            takes less time than sending it from a worker.
    """

    def __init__(
        self,
        batch_size: int = 128,
        *,
        padding: int = 4,
        border: str = "black",
        flip: Flip = True,
        cutout: int | None = None,
        transform: Spec | None = None,
        channels: int = 3,
        mean: Colours | None = None,
        std: Colours | None = None,
        **options: Unpack[ImageOptions],
    ):
        super().__init__(batch_size, **options)
        self.padding, self.flip, self.cutout, self.transform = padding, flip, cutout, transform
        self.border = border
        if border not in ("black", "reflect"):
            raise ValueError(f"border must be 'black' or 'reflect', got {border!r}")
        if flip not in (True, False, "alternating"):
            raise ValueError(f"flip must be True, False or 'alternating', got {flip!r}")
        if cutout is not None and cutout < 1:
            raise ValueError(f"cutout must be a side of at least 1 pixel, got {cutout}; None for no cutout")
        self._set_colours(channels, mean, std)
        if self.num_workers > 0:
            warnings.warn(
                f"num_workers={self.num_workers}: workers make images in memory several times slower; use 0",
                stacklevel=3,
            )

    own_channels: int | None = None  # of images that need not be grey or colours, and stay as they are

    def _set_colours(self, channels: int, mean: Colours | None, std: Colours | None) -> None:
        if mean is None and std is None and self.like:
            mean, std = self.like["mean"], self.like["std"]
        if channels != self.own_channels:
            check_channels(channels)
        check_colours(mean, std, channels, "the data set's own")
        if mean is not None and std is not None:
            self.mean, self.std = tuple(mean), tuple(std)
        elif self.mean is not None and self.std is not None and len(self.mean) != channels:
            grey = len(self.mean) == 1  # measured if colour is converted to grey
            self.mean, self.std = (3 * self.mean, 3 * self.std) if grey else (None, None)
        self.channels = channels

    def read(self, part: str) -> tuple[Bytes, Tensor] | None:
        """Return uint8 (n, S, S, C) and int64 (n,) of "train", "val" or "test"; None if there is no such part."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Read the images of a stage, and measure mean and standard deviation if there are none."""
        # Lightning advises more workers, which is wrong for images in memory.
        warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
        super().setup(stage)
        if self.mean is None:
            train_set = self._load_training()
            assert isinstance(train_set, MemorySet)
            self.mean, self.std = self.mean_and_std(train_set)

    def mean_and_std(self, images: MemorySet) -> tuple[Colours, Colours]:
        """Return mean and standard deviation of each channel, over all pixels of all images."""
        return measure_to_divide(images.images)

    def image_set(self, part: str) -> MemorySet | None:
        """Return the set of a part, augmented for "train"."""
        found = self.read(part)
        if found is None:
            return None
        images, targets = (
            np.ascontiguousarray(found[0]),
            found[1],
        )  # torchvision's CIFAR is stored in planes, with permuted strides
        check(images, targets, self.num_classes, part)
        images = images if self.scale is not None else convert_channels(images, self.channels)
        if part != "train" or not (self.padding or self.flip or self.cutout or self.transform):
            return MemorySet(images, targets)
        augment = Augment(images, self.padding, self.flip, self.cutout, self._image_transform(), self.border)
        return MemorySet(augment.store.images, targets, augment)

    def _image_transform(self) -> Operation | None:
        if self.transform is None or callable(self.transform):
            return self.transform
        return train_transform(self.transform, self.image_size)


def check_channels(channels: int) -> None:
    """Raise a ValueError unless channels are 1 or 3."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (colours), got {channels}")


def convert_channels(images: Bytes, channels: int) -> Bytes:
    """Convert uint8 (n, S, S, 1 or 3) to `channels` channels: grey to three equal channels, colour to luma.

    Raises:
        ValueError: images of other channels, unless `channels` is their own number.
    """
    if images.shape[3] == channels:
        return images
    if images.shape[3] not in (1, 3):
        raise ValueError(
            f"images have {images.shape[3]} channels, not the {channels} of channels=: convert them before"
        )
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    pieces = [grey(torch.from_numpy(piece).movedim(3, 1)).movedim(1, 3).numpy() for piece in chunks(images)]
    return np.ascontiguousarray(np.concatenate(pieces))


def chunks(images: NDArray[Number]) -> list[NDArray[Number]]:
    """Return the images in pieces of about a million numbers, or of one image: temporary copies stay small."""
    return np.array_split(images, max(1, min(len(images), images.size // 2**20)))


def check(images: Bytes, targets: Tensor, num_classes: int, part: str) -> None:
    """Raise a ValueError unless these are square uint8 images (n, S, S, C) with a class in [0, K) for each."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(f"{part}: images must be uint8 (n, S, S, C), got {images.dtype} {images.shape}")
    if targets.is_floating_point() and targets.shape == (len(images), num_classes):
        return
    if len(images) == 0 or targets.dtype != torch.int64 or targets.shape != (len(images),):
        raise ValueError(
            f"{part}: {len(images)} images, and {targets.dtype} {tuple(targets.shape)} targets, not int64 (n,)"
        )
    low, high = targets.aminmax()
    if low < 0 or high >= num_classes:
        raise ValueError(f"{part}: targets must be in [0, {num_classes}), got {low} to {high}: check the labels")


def measure(images: Bytes) -> tuple[Colours, Colours]:
    """Return mean and standard deviation of each channel over all pixels of uint8 (n, S, S, C), in units of [0, 1]."""
    channels = images.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    for piece in chunks(images):  # bincount makes int64 of its input
        counts += [np.bincount(piece[..., channel].reshape(-1), minlength=256) for channel in range(channels)]
    weights, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = weights @ values
    variance = np.maximum(weights @ values**2 - mean**2, 0)  # rounding can make the 0 of a constant channel negative
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())


def measure_to_divide(images: Bytes) -> tuple[Colours, Colours]:
    """Do the same as `measure`, with a deviation of 1 for a channel that is constant: it becomes 0, not NaN."""
    mean, std = measure(images)
    return mean, tuple(value if value > 1e-7 else 1.0 for value in std)


def check_memory(count: int, side: int, copies: int, channels: int = 3) -> None:
    """Raise a MemoryError if `copies` of `count` images of side `side` take more than 4/5 of the free memory."""
    needed, free = copies * count * side * side * channels, free_memory()
    if free is not None and needed > 0.8 * free:
        raise MemoryError(
            f"{count:,} images of {side} x {side} pixels take {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
            "are free: choose cache=None, which reads the files again each epoch, a smaller image_size (half the side "
            "takes a quarter) or fewer images"
        )


def free_memory() -> int | None:
    """Return the bytes of available memory; None if that is not known (not Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)
