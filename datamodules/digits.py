"""Handwritten digits of 8 x 8 pixels, included in scikit-learn: training takes seconds, without a download."""

import functools
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.memory import MemoryData
from datamodules.frame.options import AugmentOptions, Flip
from datamodules.frame.split import stratified_split

TEST_IMAGES = 360  # a fifth, rounded to ten; the data has no official test set


class Digits(MemoryData):
    """Handwritten digits: 1,437 + 360 images of 8 x 8 pixels in 10 classes; nothing to download.

    The digits are grey; they get three equal channels from 0 to 255, or one with `channels=1`. The test images are the
    same in every run: `TEST_IMAGES`, stratified by class, chosen with seed 0. Training images are shifted by up to
    `padding` pixels. They are not mirrored, because a mirrored digit is not a digit. Mean and standard deviation are
    measured on the training images. The source is `sklearn.datasets.load_digits`, the test part of UCI's "Optical
    Recognition of Handwritten Digits".

    Args:
        batch_size: images a batch and process.
        padding: width of the black border for the random crop, in pixels.
        flip: mirror each image left to right, as in `MemoryData`.
        options: `cutout`, `channels` (3), `mean`, `std`, `val_split`, `split_seed`, `num_workers`, as in
            `MemoryData` and `ImageData`.
    """

    classes = tuple("0123456789")
    image_size = 8

    def __init__(
        self, batch_size: int = 128, *, padding: int = 1, flip: Flip = False, **options: Unpack[AugmentOptions]
    ):
        super().__init__(batch_size, padding=padding, flip=flip, **options)

    def read(self, part: str) -> tuple[NDArray[np.uint8], Tensor] | None:
        """Return the digits of "train" or "test", uint8 (n, 8, 8, 1), and their classes."""
        if part == "val":
            return None
        grey, targets = all_digits()
        train, test = stratified_split(targets, TEST_IMAGES, seed=0)
        chosen = train if part == "train" else test
        return grey[chosen.numpy(), :, :, None], targets[chosen]


@functools.cache  # a text file: reading it takes longer than an epoch
def all_digits() -> tuple[NDArray[np.uint8], Tensor]:
    """Return grey images (1797, 8, 8), uint8, and their classes (1797,)."""
    from sklearn.datasets import load_digits  # imported here because the other data sets do not need scikit-learn

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # from values of 0 to 16
    return grey, torch.from_numpy(digits.target).long()
