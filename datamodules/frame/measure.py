"""Measure mean and standard deviation of images in files."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from datamodules.frame.image_set import ImageSet
from datamodules.frame.memory import measure
from datamodules.frame.options import Colours

BATCH = 64


def measure_files(
    images: ImageSet, indices: Tensor, limit: int | None = 2000, seed: int = 0
) -> tuple[Colours, Colours, int]:
    """Measure mean and standard deviation of each channel after the evaluation transform; show a progress bar.

    Args:
        images: a `FileSet`.
        indices: (n,) int64, of the images to measure.
        limit: largest number of images to decode, chosen at random; None for all.
        seed: of the choice.

    Returns:
        Mean and standard deviation in units of [0, 1], and the number of images measured.
    """
    if limit is not None and limit < len(indices):
        indices = indices[torch.randperm(len(indices), generator=torch.Generator().manual_seed(seed))[:limit]]
    plain, weight = images.without_augmentation(), 0
    sums: NDArray[np.float64] = np.zeros((2, 1))
    with tqdm(total=len(indices), desc="mean and std", unit=" images", disable=None) as bar:
        for chunk in indices.split(BATCH):
            batch = plain.__getitems__(chunk.tolist())[0].movedim(-3, -1)  # (N, S, S, C), or with views (N, V, S, S, C)
            pixels = batch.reshape(-1, *batch.shape[-3:]).numpy()
            mean, std = (np.array(x) for x in measure(pixels))
            sums = sums + len(pixels) * np.stack([mean, std**2 + mean**2])
            weight += len(pixels)
            bar.update(len(chunk))
    mean_, square = sums[0] / weight, sums[1] / weight
    return tuple(mean_.tolist()), tuple(np.sqrt(np.maximum(square - mean_**2, 0)).tolist()), len(indices)
