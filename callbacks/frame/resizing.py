"""Frame of tricks that resize batches, on the batch's device."""

from typing import Any

import lightning as L
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.objects import are_boxes, scale_boxes
from callbacks.frame.trick import Trick


class Resizing(Trick):
    """Abstract. Resizes batches, and adds a note to the error of a network that cannot take the new size."""

    picture = "sizes"
    resizes = takes_boxes = True
    multiple: int  # of pixels

    _made: tuple[int, int] | None = None

    def resize(self, batch: list[Any], scale: float) -> None:
        """Resize the images in place, and their boxes.

        Each side becomes the multiple of `self.multiple` nearest to `scale` times it.
        """
        height, width = batch[0].shape[-2:]
        size = nearest_multiple(scale * height, self.multiple), nearest_multiple(scale * width, self.multiple)
        self._made = None if size == (height, width) else size
        batch[0] = resize(batch[0], size)
        if are_boxes(batch[1]):
            batch[1] = scale_boxes(batch[1], size[1] / width, size[0] / height)

    def on_exception(self, trainer: L.Trainer, model: L.LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, model, exception)
        if self._made:
            name, (height, width) = type(self).__name__, self._made
            exception.add_note(f"{name} had made the images {height} x {width} px: not every network takes any size")

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        self._made = None


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images (N, C, H, W) -> (N, C, *size): bilinear, antialiased as Pillow does. Does nothing at that size."""
    if images.shape[-2:] == size:
        return images
    # in float32: torch has no such kernel for bfloat16 on CPUs
    resized = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized.to(images.dtype)


def nearest_multiple(length: float, of: int) -> int:
    """Return the multiple of `of` nearest to a length, at least `of`."""
    return max(of, round(length / of) * of)
