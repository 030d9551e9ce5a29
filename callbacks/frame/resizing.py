"""Batches at another size, on the device where they are."""

from typing import Any

import lightning as L
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.trick import Trick


class Resizing(Trick):
    """Makes the images of a batch larger or smaller; of a network that does not take them, the error says why."""

    resizes = True
    multiple: int  # of pixels

    _made: tuple[int, int] | None = None

    def resize(self, batch: list[Tensor], scale: float) -> None:
        """Both sides, in place, to the multiples of `self.multiple` that are nearest to so much of them."""
        height, width = batch[0].shape[-2:]
        size = nearest_multiple(scale * height, self.multiple), nearest_multiple(scale * width, self.multiple)
        self._made = None if size == (height, width) else size
        batch[0] = resize(batch[0], size)

    def on_exception(self, trainer: L.Trainer, model: L.LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, model, exception)
        if self._made:
            name, (height, width) = type(self).__name__, self._made
            exception.add_note(f"{name} had made the images {height} x {width} px: not every network takes any size")

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        self._made = None


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), bilinear, antialiased as Pillow does; the batch itself where the size is right."""
    if images.shape[-2:] == size:
        return images
    # in float32: torch has no such kernel for bfloat16 on processors
    resized = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized.to(images.dtype)


def nearest_multiple(length: float, of: int) -> int:
    """Return the multiple of `of` nearest to a length, at least `of`."""
    return max(of, round(length / of) * of)
