"""Image data as LightningDataModules: `from datamodules import CIFAR10`."""

from datamodules.cifar import CIFAR10, CIFAR100
from datamodules.digits import Digits
from datamodules.folder import ImageFolder
from datamodules.frame.image_data import ImageData as ImageData
from datamodules.imagenet import ImageNet
from datamodules.prepared import Prepared
from datamodules.shapes import Shapes
from datamodules.tiny_imagenet import TinyImageNet

__all__ = ["CIFAR10", "CIFAR100", "Digits", "ImageFolder", "ImageNet", "Prepared", "Shapes", "TinyImageNet"]
