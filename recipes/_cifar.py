"""CIFAR-10 for recipes: the official files, or the same images as files of their own, held in memory alike."""

from pathlib import Path

from datamodules import CIFAR10, ImageData, ImageFolder

TRAINING_IMAGES = 50_000


def cifar10(root: Path, folder: Path | None, **options) -> ImageData:
    """CIFAR-10, or what stands in for it.

    Args:
        root: where the official files are; downloaded into it if absent (170 MB).
        folder: images as files instead, `train/<class>/*` and `test/<class>/*`; None: the official ones.
        options: of both data modules: `batch_size`, `val_split`, ...
    """
    if folder is None:
        return CIFAR10(root, **options)
    return ImageFolder(folder, cache="memory", mean=CIFAR10.mean, std=CIFAR10.std, **options)


def images_named(folder: Path | None) -> str:
    """What a record calls them."""
    return "CIFAR-10" if folder is None else folder.name
