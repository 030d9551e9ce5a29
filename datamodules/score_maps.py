"""Images with a teacher's dense score maps from files, cropped and flipped together: what `TokenLabeling` trains on.

Paper: All Tokens Matter: Token Labeling for Training Better Vision Transformers (Jiang et al.; NeurIPS 2021)
       https://arxiv.org/abs/2104.10858
Files: as in the authors' archive and of their `generate_label.py` (https://github.com/zihangJiang/TokenLabeling at
       9dbfd59): for an image `<class>/<name>.<suffix>` a file `<folder>/<class>/<name>.pt`, which `torch.load` reads as
       float16 (2, 5, h, w): the 5 best scores of each cell, and their classes. The name ends at its first dot.
       `callbacks.frame.score_maps.compress` makes such tensors of a teacher's maps.

Crops are fractions of the whole image, as in the authors' loader. Their archive's maps are of the middle square of each
image, though (its short side resized to 576 px): of oblong images labels are some cells off, here as there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from datamodules.folder import ImageFolder
from datamodules.frame.files import FileData, FileSet
from datamodules.frame.image_set import ImageSet, Items
from datamodules.frame.options import FileOptions
from datamodules.imagenet import ImageNet
from datamodules.transforms import Operation, RandomResizedCrop, Spec, train_transform


class MappedSet(FileSet):
    """A `FileSet` whose training images come with their maps and crop positions.

    Args:
        images: the set without maps.
        folder: of the maps.
        crop: cuts a part out.
        flip: probability to turn image and map left to right.
        after: further transforms of the image, uint8 (3, S, S) -> the same, that do not move pixels.
    """

    def __init__(self, images: FileSet, folder: Path, crop: RandomResizedCrop, flip: float, after: Operation):
        super().__init__(images.source, images.targets, images.train, images.evaluate, images.channels, images.white)
        self.folder, self.crop, self.flip, self.after = folder, crop, flip, after
        self._maps: list[Tensor] = []
        self._crops: list[list[float]] = []

    def __getitems__(self, items: Items) -> list[Tensor]:
        """Return `FileSet`'s batch, maps float16 (N, 2, 5, h, w) and crops float32 (N, 4): top, left, height, width.

        Maps and crops are viewed as integers of the same number of bits, which the trainer's precision does not round.
        """
        self._maps, self._crops = [], []
        batch = super().__getitems__(items)
        maps, crops = torch.stack(self._maps), torch.tensor(self._crops)
        self._maps, self._crops = [], []
        return [*batch, maps.view(torch.int16), crops.view(torch.int32)]

    def _transform(self, picture: Tensor, index: int) -> Tensor:
        at, (height, width) = self.crop.make_params([picture]), picture.shape[-2:]
        image, scores = self.crop.transform(picture, at), self.map(index)
        left = at["left"] / width
        if torch.rand(1).item() < self.flip:
            image, scores, left = image.flip(-1), scores.flip(-1), 1 - left - at["width"] / width
        self._maps.append(scores)
        self._crops.append([at["top"] / height, left, at["height"] / height, at["width"] / width])
        return self.after(image)

    def map(self, index: int) -> Tensor:
        """Return the map of an image. Raise a ValueError if there is none, or none of this kind."""
        name = Path(self.source.name(index))
        path = self.folder / name.parent.name / (name.name.split(".")[0] + ".pt")
        if not path.exists():
            raise ValueError(f"there is no score map {path} of {name}: make it, or take the image out")
        scores: Tensor = torch.load(path, weights_only=True)
        if scores.ndim != 4 or len(scores) != 2 or scores.dtype != torch.float16:
            raise ValueError(f"{path} is {scores.dtype} {tuple(scores.shape)}, not float16 (2, k, h, w): make it again")
        return scores


class MapOptions(FileOptions, total=False):
    """Options of the data module without maps."""

    batch_size: int
    cache: str | None


class ScoreMaps(FileData):
    """Abstract: a data module of files, with maps in training. `class Mine(ScoreMaps, TheDataModule)` is one.

    Training gives `[images, targets, maps, crops]`, for `TokenLabeling()` without a teacher; evaluation is as without.

    Args:
        root: the folder of the images.
        maps: the folder of the maps.
        flip: probability to turn an image and its map left to right, in [0, 1].
        after: further transforms of the cropped image, as `transform` of `FileData`; only what moves no pixels.
        options: those of the data module, without `transform`: a random resized crop, which the maps follow.

    Raises:
        ValueError: `transform`, or images in memory, which are augmented a batch at a time.
    """

    def __init__(
        self,
        root: str | Path,
        maps: str | Path,
        *,
        flip: float = 0.5,
        after: Spec = (),
        **options: Unpack[MapOptions],
    ):
        if "transform" in options or options.get("cache"):
            raise ValueError(
                f"{type(self).__name__} crops images and maps together, from files: give after=, not transform or cache"
            )
        super().__init__(root, **options)  # type: ignore[arg-type, misc]  # of the data module
        self.maps, self.flip, self.after = Path(maps), flip, after

    def image_set(self, part: str) -> ImageSet | None:
        """Return the set of a part; that of "train" has maps."""
        images = super().image_set(part)
        if part != "train" or not isinstance(images, FileSet):
            return images
        crop, after = RandomResizedCrop(self.image_size), train_transform(list_of(self.after), self.image_size)
        return MappedSet(images, self.maps, crop, self.flip, after)

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> list[Tensor]:
        """Make images float, normalised; maps float16 and crops float32 again."""
        images, targets, *more = batch
        batch = super().on_after_batch_transfer([images, targets], dataloader_idx)
        if not more:
            return batch
        maps, crops = more
        return [*batch, maps.view(torch.float16), crops.view(torch.float32)]


def list_of(spec: Spec) -> Sequence[str | Operation]:
    """Return a transform, or several, as a list."""
    return [spec] if isinstance(spec, str) or callable(spec) else spec


class MappedImageFolder(ScoreMaps, ImageFolder):
    """An `ImageFolder` with maps, `MappedImageFolder("photos", "maps", batch_size=64)`: see `ScoreMaps`."""


class MappedImageNet(ScoreMaps, ImageNet):
    """`ImageNet` with maps, `MappedImageNet("data", "label_top5_train_nfnet", batch_size=128)`: see `ScoreMaps`."""
