"""Images with boxes: their sets, the base class of their data modules, and how pictures are made square.

A batch is a list `[images, targets]`: images uint8 (N, 3, S, S); targets a list of N dicts, `"boxes"` (n, 4) float32 as
x1, y1, x2, y2 in pixels of the image, `"labels"` (n,) int64 in [0, K), and where the data has it `"iscrowd"` (n,): 1
for what neither counts nor harms in evaluation. `x2` and `y2` are one past the last pixel.
"""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.frame.decode import decode
from datamodules.frame.image_data import ImageData
from datamodules.frame.image_set import ImageSet, Items, split_items
from datamodules.frame.show import draw
from datamodules.frame.tensor import Bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Target = dict[str, Tensor]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std, from torchvision
GREY = 114  # fills what a picture that is not square leaves, as in YOLOv5


class BoxSet(ImageSet):
    """Abstract. Images and their objects; a subclass returns the images and objects at indices in `at`.

    Args:
        objects: of each image, as they are in the files.
    """

    def __init__(self, objects: Sequence[Target]):
        super().__init__(first_labels(objects))
        self.objects = objects

    def at(self, index: Tensor) -> tuple[Tensor, list[Target]]:
        """Return images uint8 (N, 3, S, S) and their targets, of indices (N,)."""
        raise NotImplementedError

    def __getitems__(self, items: Items) -> list[Any]:
        """Return [images, targets] for (key, index) pairs of `Order`, or for plain indices."""
        return [*self.at(split_items(items)[1])]

    def without_augmentation(self) -> "BoxSet":
        """Return the same: tricks augment images with boxes, a batch at a time."""
        return self


def first_labels(objects: Sequence[Target]) -> Tensor:
    """Return one class an image (n,) to stratify splits by: that of its first object, 0 without objects."""
    return torch.tensor([int(target["labels"][0]) if len(target["labels"]) else 0 for target in objects])


class MemoryBoxes(BoxSet):
    """Images uint8 (n, S, S, 3) in memory, with their objects."""

    def __init__(self, images: Bytes, objects: Sequence[Target]):
        super().__init__(objects)
        self.images = images

    def at(self, index: Tensor) -> tuple[Tensor, list[Target]]:
        images = torch.from_numpy(self.images[index.numpy()]).permute(0, 3, 1, 2)
        return images, [dict(self.objects[i]) for i in index.tolist()]


class FileBoxes(BoxSet):
    """Images in files, each made square when it is read, with its boxes.

    Args:
        paths: of the images.
        objects: of each image, in pixels of the file.
        side: of the square in pixels.
    """

    def __init__(self, paths: Sequence[Any], objects: Sequence[Target], side: int):
        super().__init__(objects)
        self.paths, self.side = paths, side

    def at(self, index: Tensor) -> tuple[Tensor, list[Target]]:
        images, targets = np.empty((len(index), self.side, self.side, 3), np.uint8), []
        for row, i in enumerate(index.tolist()):
            with open(self.paths[i], "rb") as file:
                picture = decode(file.read(), str(self.paths[i]))
            image, target = letterbox(picture, self.objects[i], self.side)
            images[row] = image.permute(1, 2, 0).numpy()
            targets.append(target)
        return torch.from_numpy(images).permute(0, 3, 1, 2), targets


def letterbox(picture: Tensor, target: Target, side: int) -> tuple[Tensor, Target]:
    """Resize the long side to `side` pixels, antialiased, and fill the rest below or to the right with grey.

    Args:
        picture: uint8 (3, H, W).
        target: its boxes in pixels, and labels.
        side: S.

    Returns:
        The image uint8 (3, S, S), and the target with boxes in its pixels.
    """
    height, width = picture.shape[-2:]
    sides = [max(1, round(side * length / max(height, width))) for length in (height, width)]
    image = F.interpolate(picture[None], size=sides, mode="bilinear", antialias=True)[0]
    image = F.pad(image, (0, side - sides[1], 0, side - sides[0]), value=GREY)
    scale = torch.tensor([sides[1] / width, sides[0] / height]).repeat(2)
    return image, {**target, "boxes": target["boxes"] * scale}


class BoxData(ImageData):
    """Abstract. Images with boxes, for `zoo.Detector`: batches as this file says, normalised as in `ImageData`.

    Splits are stratified by the class of an image's first object. Tricks augment: `RandomFlip`, `RandomCrop`, `Mosaic`,
    ...

    Args:
        batch_size, options: as in `ImageData`, without `label_noise` and `sampling`, which need one label an image.

    Raises:
        ValueError: an argument is out of range.
    """

    task = "detection"

    def setup(self, stage: str | None = None) -> None:
        """Create the sets of a stage. Raise a ValueError for options that need one label an image."""
        if self.label_noise or self.sampling:
            name = "label_noise" if self.label_noise else "sampling"
            raise ValueError(f"{name} needs one label an image, which {type(self).__name__} has not: leave it out")
        super().setup(stage)

    @property
    def class_counts(self) -> Tensor:
        """Training objects of each class, (K,) int64."""
        images = self._training_set()
        assert isinstance(images, BoxSet)
        labels = [images.objects[i]["labels"] for i in self.train_indices.tolist()]
        return torch.cat(labels).bincount(minlength=self.num_classes)

    def show_batch(self, n: int = 16, batch: list[Any] | None = None) -> "Figure":
        """Draw the network's inputs with their boxes.

        Args:
            n: largest number of images.
            batch: the batch, of bytes or normalised; None for the first images of the first training epoch.

        Returns:
            A `matplotlib.figure.Figure`, as in `ImageData.show_batch`.
        """
        if batch is None:
            if self.train_set is None:
                self.prepare_data()
                self.setup("fit")
            batch = self._training_set().__getitems__(list(islice(self._training_order(), n)))
        targets = [{name: value.cpu() for name, value in target.items()} for target in batch[1][:n]]
        return draw(self._as_bytes(batch[0][:n].detach().cpu()), targets, self.classes)
