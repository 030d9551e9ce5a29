"""Image data as LightningDataModules: `from datamodules import CIFAR10`.

Each data module has a file, and a line here: `__all__` and the lists of the command line are made from these lines.
"""

from lightning import LightningDataModule

from datamodules.arrays import Arrays as Arrays
from datamodules.cifar import CIFAR10 as CIFAR10
from datamodules.cifar import CIFAR100 as CIFAR100
from datamodules.coco import COCO as COCO
from datamodules.digits import Digits as Digits
from datamodules.fashion_mnist import FashionMNIST as FashionMNIST
from datamodules.folder import ImageFolder as ImageFolder
from datamodules.frame.image_data import ImageData as ImageData
from datamodules.huggingface import HuggingFace as HuggingFace
from datamodules.imagenet import ImageNet as ImageNet
from datamodules.mnist import MNIST as MNIST
from datamodules.mnist1d import MNIST1D as MNIST1D  # signals, not images
from datamodules.prepared import Prepared as Prepared
from datamodules.shapes import ShapeBoxes as ShapeBoxes
from datamodules.shapes import Shapes as Shapes
from datamodules.table import Table as Table
from datamodules.tiny_imagenet import TinyImageNet as TinyImageNet
from datamodules.voc import VOC as VOC

FRAME = (ImageData, LightningDataModule)
__all__ = sorted(
    name
    for name, member in globals().items()
    if isinstance(member, type) and issubclass(member, LightningDataModule) and member not in FRAME
)
