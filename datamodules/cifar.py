"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 colour images of 32 x 32 pixels in 10 or 100 classes.

Paper: Learning Multiple Layers of Features from Tiny Images (Krizhevsky, 2009),
       https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf
torchvision downloads the files, checks and reads them; augmentation and loading are ours.
"""

from pathlib import Path
from typing import Unpack

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from datamodules.frame.download import lock
from datamodules.frame.memory import MemoryData
from datamodules.frame.options import MemoryOptions

CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""


class _CIFAR(MemoryData):
    """CIFAR-10 and CIFAR-100. A subclass names torchvision's reader."""

    image_size = 32
    reader: type[torchvision.datasets.CIFAR10]

    def __init__(self, root: str | Path = "data", batch_size: int = 128, **options: Unpack[MemoryOptions]):
        super().__init__(batch_size, **options)
        self.root = Path(root).expanduser()

    def prepare_data(self) -> None:
        """Download what is missing or damaged; one process does it for all, others wait."""
        try:
            self.reader(self.root)
            return
        except Exception:  # missing, or damaged by the checksums of its files
            pass
        try:
            with lock(self.root / self.reader.base_folder):
                self.reader(self.root, download=True)
        except Exception as error:  # no network, a proxy's page, a full disk: the remedy is the same for all
            raise RuntimeError(self._advice(f"could not be downloaded ({error})")) from error

    def read(self, part: str) -> tuple[NDArray[np.uint8], Tensor] | None:
        """Return the images of "train" or "test", uint8 (n, 32, 32, 3), and their classes."""
        if part == "val":
            return None
        try:
            data = self.reader(self.root, train=part == "train")
        except Exception as error:
            raise RuntimeError(self._advice(f"could not be read ({error})")) from error
        return data.data, torch.tensor(data.targets)

    def _advice(self, problem: str) -> str:
        return (
            f"{type(self).__name__} is missing or damaged in {self.root} and {problem}: "
            f"fetch {self.reader.url} by hand and put it there as {self.reader.filename}"
        )


class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 + 10,000 images of 32 x 32 pixels in 10 classes.

    By default, images are augmented as in He et al. 2015 (section 4.2): random crop with 4 pixels of padding, flip. The
    training images take 154 MB of memory, with `flip` twice that.

    Args:
        root: folder of the data; downloaded into it if absent (170 MB).
        batch_size: images a batch and process.
        options: `padding` (4), `border` ("black"), `flip` (True), `cutout` (None; 16 in the paper on Cutout),
            `channels` (3), `mean`, `std`, `val_split` (0.1, He's 45,000 + 5,000), `split_seed`, `num_workers`, as in
            `MemoryData` and `ImageData`.
    """

    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    confusions = {  # Patrini et al. 2017, https://arxiv.org/abs/1609.03683
        "truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"
    }  # fmt: skip
    reader = torchvision.datasets.CIFAR10
    mean = (125.3 / 255, 123.0 / 255, 113.9 / 255)  # Wide ResNets, the authors' code
    std = (63.0 / 255, 62.1 / 255, 66.7 / 255)


class CIFAR100(_CIFAR):
    """CIFAR-100: 50,000 + 10,000 images of 32 x 32 pixels in 100 classes (the fine labels).

    Everything else is as in `CIFAR10`, except that the paper on Cutout has a side of 8 for it.
    """

    classes = tuple(CIFAR100_CLASSES.split())
    reader = torchvision.datasets.CIFAR100
    mean = (129.3 / 255, 124.1 / 255, 112.4 / 255)  # Wide ResNets, the authors' code
    std = (68.2 / 255, 65.4 / 255, 70.4 / 255)
