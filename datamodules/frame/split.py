"""Split images into training and validation, stratified by class, by seed."""

import torch
from torch import Tensor

VAL_SPLIT = 0.1  # of the training images, by default


def validation_count(val_split: float | int, total: int) -> int:
    """Return `val_split` as a number of images: a fraction of `total` in [0, 1), or the count itself.

    Raises:
        ValueError: no training images would be left, or no validation images although some were asked for.
    """
    count = round(val_split * total) if isinstance(val_split, float) else val_split
    if count >= total or (count == 0 and val_split > 0):
        raise ValueError(
            f"val_split={val_split} takes {count} of {total} training images for validation: choose a fraction in "
            f"[0, 1) or a count below {total}; 0 trains on all, without validation"
        )
    return count


def order_by_class(targets: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sort images by class, in a random order within each class.

    Args:
        targets: (n,) int64, the classes.
        seed: of the order.

    Returns:
        Indices sorted by class, random within each class; the position of each image in its class; the size of its
        class. All (n,) int64.
    """
    shuffled = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[targets[shuffled].argsort(stable=True)]
    sizes = targets.bincount()
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return by_class, torch.arange(len(targets)) - first, sizes.repeat_interleave(sizes)


def stratified_split(targets: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split off `count` images, stratified by class: indices of the rest and of these, each ascending.

    The image at position j in its class's random order gets the number (j + 1/2) / (size of the class). The `count`
    smallest numbers are taken, ties at random. So each class gives count / n of its images, rounded so that the sum is
    right (Webster's method), and a larger count includes the images of a smaller one.

    Args:
        targets: (n,) int64, the classes.
        count: in [0, n].
        seed: of the random order.
    """
    by_class, position, size = order_by_class(targets, seed)
    number = torch.empty(len(targets), dtype=torch.float64)
    number[by_class] = (position + 0.5).double() / size
    shuffled = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    order = shuffled[number[shuffled].argsort(stable=True)]
    return order[count:].sort().values, order[:count].sort().values


def fold_split(targets: Tensor, fold: int, folds: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices outside fold `fold` and those in it, each ascending.

    The images, sorted by class, are assigned to the folds in turn. The folds are disjoint and cover all images; their
    sizes differ by at most one, in total and in each class.

    Args:
        targets: (n,) int64, the classes.
        fold: in [0, folds).
        folds: K, at least 2.
        seed: of the random order; one for all folds.

    Raises:
        ValueError: there are more folds than images.
    """
    if folds > len(targets):
        raise ValueError(f"folds={folds} is more than the {len(targets)} training images: choose fewer")
    mine = torch.arange(len(targets)) % folds == fold
    by_class = order_by_class(targets, seed)[0]
    return by_class[~mine].sort().values, by_class[mine].sort().values


def stratified_fraction(targets: Tensor, fraction: float, seed: int, classes: tuple[str, ...]) -> Tensor:
    """Return `fraction` of the images, stratified, as ascending indices; a larger fraction includes a smaller one.

    Raises:
        ValueError: a class would be left without an image.
    """
    chosen = stratified_split(targets, round(fraction * len(targets)), seed)[1]
    before, after = (t.bincount(minlength=len(classes)) for t in (targets, targets[chosen]))
    if lost := [classes[k] for k in ((before > 0) & (after == 0)).nonzero()[:, 0].tolist()]:
        raise ValueError(f"fraction={fraction} leaves no image of {', '.join(lost[:5])}: choose a larger one")
    return chosen


def check_split(
    val_split: float | int | None,
    fold: int | None,
    folds: int | None,
    fraction: float,
    sampling: str | None,
    repeats: int,
) -> None:
    """Raise a ValueError for an argument of `ImageData` out of range, or two contradictory arguments."""
    if val_split is not None and (val_split < 0 or (isinstance(val_split, float) and val_split >= 1)):
        raise ValueError(f"val_split must be a fraction in [0, 1) or a count of images, got {val_split}")
    if (fold is None) != (folds is None):
        raise ValueError(f"fold={fold}, folds={folds}: give both, as in fold=0, folds=5 for the first of five")
    if fold is not None and folds is not None and not (folds >= 2 and 0 <= fold < folds):
        raise ValueError(f"fold must be in [0, folds) and folds at least 2, got fold={fold}, folds={folds}")
    if folds is not None and val_split is not None:
        raise ValueError(f"fold={fold} is the validation set: leave out val_split={val_split}, or fold and folds")
    if not 0 < fraction <= 1:
        raise ValueError(
            f"fraction must be in (0, 1], got {fraction}; it is the fraction of the training images to keep"
        )
    if sampling not in (None, "over", "under"):
        raise ValueError(f'sampling must be "over", "under" or None, got {sampling!r}')
    if not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"repeats must be a whole number of at least 1, got {repeats}")
    if repeats > 1 and sampling is not None:
        raise ValueError(
            f'repeats={repeats} and sampling="{sampling}" both set how often an image is seen: leave out one of them'
        )


def check_per_class(k: int | None, batch_size: int, sampling: str | None, repeats: int) -> None:
    """Raise a ValueError unless batches can have k images of each of their classes."""
    if k is None:
        return
    if not isinstance(k, int) or k < 1 or batch_size % k:
        raise ValueError(f"per_class must divide batch_size={batch_size}, got {k}: it is the images of each class")
    if sampling is not None or repeats > 1:
        raise ValueError(f"per_class={k} sets how often an image is seen: leave out sampling and repeats, or per_class")
