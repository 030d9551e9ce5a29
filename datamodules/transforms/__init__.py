"""Transforms of single images, by name or as objects: uint8 (3, H, W) in, uint8 (3, S, S) out.

    ImageNet("data", transform="bag-of-tricks", evaluation="10-crop")
    ImageNet("data", transform=["resized-crop", "flip", Lighting(0.2)])

A name stands for an operation with its default parameters. For other parameters give the object. Every callable on a
uint8 tensor is a transform, so every class of `torchvision.transforms.v2` is one. Where v2 has the operation, it is
used here. Random numbers come from torch.

Normalisation is not a transform of images: the data module normalises whole batches on the network's device, with its
`mean` and `std`, or with a fitted `Whitening`.
"""

from datamodules.transforms.catalogue import (
    OPERATIONS,
    PRESETS,
    PROTOCOLS,
    Operation,
    Pipeline,
    Spec,
    evaluation_transform,
    operation,
    train_transform,
)
from datamodules.transforms.cutout import Cutout
from datamodules.transforms.evaluation import Center, MultiScale, TenCrop
from datamodules.transforms.gridmask import GridMask
from datamodules.transforms.hsv_scaling import HSVScaling
from datamodules.transforms.lighting import Lighting
from datamodules.transforms.rand_augment import RandAugment
from datamodules.transforms.random_erasing import RandomErasing
from datamodules.transforms.random_horizontal_flip import RandomHorizontalFlip
from datamodules.transforms.random_resized_crop import RandomResizedCrop
from datamodules.transforms.resize import ResizeShort, ScaleJitter
from datamodules.transforms.whitening import Whitening

__all__ = [
    "Center",
    "Cutout",
    "GridMask",
    "HSVScaling",
    "Lighting",
    "MultiScale",
    "RandAugment",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "ResizeShort",
    "ScaleJitter",
    "TenCrop",
    "Whitening",
]
