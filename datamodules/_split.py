"""A validation set from the training set: every class in proportion."""

import torch
from torch import Tensor


def validation_count(val_split: float | int, total: int) -> int:
    """`val_split` as a number of images: a fraction of `total` in [0, 1), or the count itself.

    Raises:
        ValueError: nothing would be left to train on, or nothing to validate on though that was asked for.
    """
    count = round(val_split * total) if isinstance(val_split, float) else val_split
    if count >= total or (count == 0 and val_split > 0):
        raise ValueError(
            f"val_split={val_split} takes {count} of {total} training images for validation: choose a fraction in "
            f"[0, 1) or a count below {total}; 0 trains on all, without validation"
        )
    return count


def stratified_split(targets: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two disjoint sets of indices, each in ascending order: the rest, and `count` images of all classes in proportion.

    The image of place j in its class's random order gets the number (j + 1/2) / (size of the class), and the `count`
    smallest are taken, ties at random. So each class gives count / n of its images, rounded so that the sum is right
    (Webster's way).

    Args:
        targets: (n,) int64, the classes.
        count: in [0, n].
        seed: of the random order.
    """
    shuffled = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[targets[shuffled].argsort(stable=True)]
    sizes = targets.bincount()
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    number = torch.empty(len(targets), dtype=torch.float64)
    number[by_class] = (torch.arange(len(targets)) - first + 0.5).double() / sizes.repeat_interleave(sizes)
    order = shuffled[number[shuffled].argsort(stable=True)]
    return order[count:].sort().values, order[:count].sort().values
