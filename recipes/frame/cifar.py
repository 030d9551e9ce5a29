"""CIFAR-10 for recipes: the official files, or the same images as files of their own, held in memory alike."""

from pathlib import Path
from typing import Any

from datamodules import CIFAR10, ImageData, ImageFolder
from zoo import ResNet

TRAINING_IMAGES = 50_000
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std that published CIFAR networks often want


def cifar10(root: Path, folder: Path | None, **options: Any) -> ImageData:
    """Return CIFAR-10, or the images that stand in for it.

    Args:
        root: where the official files are; downloaded into it if absent (170 MB).
        folder: images as files instead, `train/<class>/*` and `test/<class>/*`; None: the official ones.
        options: of both data modules: `batch_size`, `val_split`, ...
    """
    if folder is None:
        return CIFAR10(root, **options)
    return ImageFolder(folder, cache="memory", mean=CIFAR10.mean, std=CIFAR10.std, **options)


def images_named(folder: Path | None) -> str:
    """Name the images as a record does."""
    return "CIFAR-10" if folder is None else folder.name


def published_resnet56(weights: Path) -> ResNet:
    """Return a teacher that others trained on CIFAR-10: it wants images normalised by `IMAGENET`.

    Args:
        weights: a file such as resnet56-4bfd9763.th of github.com/akamaster/pytorch_resnet_cifar10 (BSD 2-clause).
    """
    return ResNet("56", num_classes=10, image_size=32, weights=str(weights))
