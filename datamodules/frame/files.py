"""Data sets of encoded files, which are decoded again in each epoch and stay bytes until they reach the device."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from datamodules.frame.bands import check_scale, read_bands
from datamodules.frame.check import find_readable
from datamodules.frame.decode import Unreadable, decode, usable_cores
from datamodules.frame.image_data import ImageData
from datamodules.frame.image_set import ImageSet, Items, split_items
from datamodules.frame.like import evaluation_of
from datamodules.frame.memory import check_channels
from datamodules.frame.options import Colours, SplitOptions, check_colours
from datamodules.frame.order import lend_generator
from datamodules.frame.source import Chosen
from datamodules.frame.source import Paths as Paths
from datamodules.frame.source import Source as Source
from datamodules.transforms import Center, Operation, Spec, TenCrop, evaluation_transform, train_transform
from datamodules.transforms.grey import grey


class FileSet(ImageSet):
    """Encoded images and their targets; returns whole batches.

    Args:
        source: n encoded images.
        targets: (n,) int64.
        train: uint8 (3, H, W) -> uint8 (3, S, S), any H, W. Its draws from torch's CPU generator depend only on the key
            of the epoch and the index of the image; the generator's state is restored afterwards.
        evaluate: the same without augmentation, for `without_augmentation`; or with V views (V, 3, S, S).
        channels: 1 makes the result grey.
        white: as in `decode`.
        scale: read images as in `read_bands`: float32 instead of uint8.
    """

    def __init__(
        self,
        source: Source,
        targets: Tensor,
        train: Operation,
        evaluate: Operation,
        channels: int = 3,
        white: float | None = None,
        scale: tuple[float, ...] | None = None,
    ):
        super().__init__(targets)
        self.source, self.train, self.evaluate = source, train, evaluate
        self.channels, self.white, self.scale = channels, white, scale

    def __getitems__(self, items: Items) -> list[Tensor]:
        """Return [uint8 (N, C, S, S) or (N, V, C, S, S), int64 (N,)] for (key, index) pairs, or for plain indices."""
        keys, indices = (numbers.tolist() for numbers in split_items(items))
        batch: Tensor | None = None
        with lend_generator() as seed:
            for n, (key, index) in enumerate(zip(keys, indices, strict=True)):
                picture = self.picture(index)
                seed(key, index)
                image = self._transform(picture, index)
                del picture  # so that the next image is decoded into memory that is still in the cache
                if batch is None:
                    batch = _block(len(keys), image)
                batch[n] = image
        assert batch is not None  # samplers return no empty batch
        plain = self.scale is not None or self.channels == 3
        return [batch if plain else grey(batch), self.targets[indices]]

    def picture(self, index: int) -> Tensor:
        """Return one image of a file without transforms, uint8 (3, H, W); with `scale`, float32 (C, H, W)."""
        if self.scale is not None:
            return read_bands(self.source.read(index), self.source.name(index), self.channels, self.scale)
        try:
            return decode(self.source.read(index), self.source.name(index), white=self.white)
        except Unreadable as error:
            raise Unreadable(f"{error}, or leave out all such images with skip_unreadable=True") from error

    def _transform(self, picture: Tensor, index: int) -> Tensor:
        try:
            return self.train(picture)
        except Exception as error:
            error.add_note(f"in the transform of {self.source.name(index)}, {picture.dtype} {tuple(picture.shape)}")
            raise

    def without_augmentation(self) -> "FileSet":
        """Return the same images, not augmented."""
        return FileSet(self.source, self.targets, self.evaluate, self.evaluate, self.channels, self.white, self.scale)


def _block(count: int, image: Tensor) -> Tensor:
    """Allocate memory for `count` images like this one, in channels_last order."""
    *views, channels, height, width = image.shape
    return torch.empty(count, *views, height, width, channels, dtype=image.dtype).movedim(-1, -3)


class FileData(ImageData):
    """Abstract. A subclass has `classes` and `root`, and names its encoded images in `source`.

    Only names are kept in memory: worker processes decode the files again in each epoch.

    Args:
        batch_size: images a batch and process.
        image_size: side S of the network's input in pixels; 224 by default.
        transform: of a training image: a name of `datamodules.transforms` ("inception" is the random resized crop with
            a flip), a callable of uint8 (3, H, W) to uint8 (3, S, S) (any transform of torchvision's v2), or a list of
            these. The draws are each image's own, from torch's CPU generator only.
        evaluation: the same for validation and test: "center" by default, "10-crop", "multi-scale" or a callable.
        skip_unreadable: skip unreadable or damaged images, with a warning that counts and names them. All images are
            decoded once before the first training, and the result is saved in `root`, in `.unreadable-<part>.json`. If
            False, the first such image ends the run with an error that names it.
        channels: 3 by default, or 1 for grey images (luma, after the transform).
        white: the value of white in grey images of 16 or 32 bits or floats: 4095 for 12 bits in a file of 16. None:
            65,535 for 16 bits and 1 for floats; an image that would be nearly black is refused.
        scale: read images without rounding to bytes: 1 to 16 `channels` of 8, 16 or 32 bits, also TIFF and .npy. They
            become floats, divided by this number, such as 65535, or by one number for each channel.
        mean, std: of each channel, in units of the range [0, 1]; ImageNet's by default (of grey, its colours' average;
            with `scale`, 0 and 1).
        num_workers: decoding processes; None for one per core available to this process (under DDP, its part).
        options: `val_split`, `split_seed` and more, as in `ImageData`.
    """

    mean: Colours | None = (0.485, 0.456, 0.406)  # ImageNet's, from torchvision
    std: Colours | None = (0.229, 0.224, 0.225)
    root: Path

    def __init__(
        self,
        batch_size: int = 64,
        *,
        image_size: int | None = None,
        transform: Spec = "inception",
        evaluation: Spec | None = None,
        skip_unreadable: bool = False,
        channels: int | None = None,
        white: float | None = None,
        scale: float | Sequence[float] | None = None,
        mean: Colours | None = None,
        std: Colours | None = None,
        num_workers: int | None = None,
        **options: Unpack[SplitOptions],
    ):
        super().__init__(batch_size, num_workers=usable_cores() if num_workers is None else num_workers, **options)
        like = self.like
        if image_size is None:
            image_size = like["size"] if like else 224
        if evaluation is None:
            evaluation = evaluation_of(like) if like and like["size"] == image_size else "center"
        if channels is None:
            channels = len(like["mean"]) if like else 3
        if mean is None and std is None and like:
            mean, std = like["mean"], like["std"]
            scale = like.get("scale") if scale is None else scale
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1 pixel, got {image_size}")
        if white is not None and white <= 0:
            raise ValueError(f"white must be a grey value above 0, got {white}")
        self.image_size, self.skip_unreadable, self.white = image_size, skip_unreadable, white
        self.scale = None if scale is None else check_scale(scale, channels)
        if self.scale is not None and (skip_unreadable or white is not None):
            raise ValueError("skip_unreadable and white need 8-bit images: leave them out, or leave out scale")
        self._set_colours(channels, mean, std)
        self.transform, self.evaluation = transform, evaluation
        (
            train_transform(transform, image_size),
            evaluation_transform(evaluation, image_size),
        )  # to refuse a wrong name now
        self._share_cores = num_workers is None
        self._checked: dict[str, tuple[Source, Tensor]] = {}

    def _set_colours(self, channels: int, mean: Colours | None, std: Colours | None) -> None:
        if self.scale is None:
            check_channels(channels)
        elif mean is None and std is None:
            mean, std = (0.0,) * channels, (1.0,) * channels
        check_colours(mean, std, channels, "ImageNet's")
        self.channels = channels
        if mean is not None and std is not None:
            self.mean, self.std = tuple(mean), tuple(std)
        elif channels == 1 and self.mean is not None and self.std is not None:
            self.mean, self.std = (sum(self.mean) / 3,), (sum(self.std) / 3,)

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """Preprocessing of a picture in evaluation, as plain values; None for a user's `evaluation`."""
        found = self.middle_square
        first, *rest = evaluation_transform(self.evaluation, self.image_size).operations
        if found is None or rest or not isinstance(first, Center) or first.size != self.image_size:
            return None
        ten = isinstance(first, TenCrop)
        return {
            **found,
            "short_side": first.resized,
            "interpolation": first.interpolation,
            "views": "10-crop" if ten else "center",
            "keeps_small": first.keeps_small and not ten,
        }

    def source(self, part: str) -> tuple[Source, Tensor] | None:
        """Return encoded images and int64 (n,) of "train", "val" or "test"; None if there is no such part."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Check the images, once per machine, if unreadable ones are skipped. A subclass calls this last."""
        if self.skip_unreadable:
            testing = self.trainer is not None and self.trainer.state.fn in ("test", "predict")
            for part in ("test",) if testing else ("train", "val"):
                self._part(part)

    def setup(self, stage: str | None = None) -> None:
        """Create the sets of a stage."""
        # Lightning advises more workers; here there is one per core, or the user's number.
        warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
        if self._share_cores and self.trainer is not None:
            self.num_workers = max(1, usable_cores() // self.trainer.num_devices)
        super().setup(stage)

    def image_set(self, part: str) -> ImageSet | None:
        """Return the set of a part, augmented for "train"."""
        found = self._part(part)
        return None if found is None else self.file_set(*found, augmented=part == "train")

    def file_set(self, source: Source, targets: Tensor, augmented: bool = False) -> FileSet:
        """Return images and targets with this module's transforms."""
        evaluate = evaluation_transform(self.evaluation, self.image_size)
        train = train_transform(self.transform, self.image_size) if augmented else evaluate
        return FileSet(source, targets, train, evaluate, self.channels, self.white, self.scale)

    def _part(self, part: str) -> tuple[Source, Tensor] | None:
        if part in self._checked:
            return self._checked[part]
        found = self.source(part)
        if found is not None and self.skip_unreadable:
            source, targets = found
            good = find_readable(source, self.root / f".unreadable-{part}.json", self.white)
            found = self._checked[part] = Chosen(source, good), targets[good]
        return found
