"""Images in memory as rows of papers use them: which train, which are reported on, what is subtracted."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from datamodules import MNIST, FashionMNIST
from zoo.frame.seeds import mix


@dataclass(frozen=True)
class Images:
    """What a run trains on and what it reports on.

    Attributes:
        x: (N, C, H, W), float32, normalised.
        y: (N,), int64.
        held_x: of the images that are reported on: those of the test, or of the part that the source holds out.
        held_y: likewise.
    """

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor

    def to(self, device: torch.device) -> "Images":
        """Return the same on a device."""
        return Images(*(v.to(device) for v in (self.x, self.y, self.held_x, self.held_y)))

    def held_out(self, size: int = 1000) -> "InOrder":
        """Return what is reported on, in batches of `size` images."""
        return InOrder(self.held_x, self.held_y, size)


class InOrder:
    """Batches `[images, labels]` for evaluation, in the order of the file."""

    def __init__(self, x: Tensor, y: Tensor, size: int):
        self.x, self.y, self.size = x, y, size

    def __len__(self) -> int:
        return -(-len(self.x) // self.size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        return map(list, zip(self.x.split(self.size), self.y.split(self.size), strict=True))


class Batches:
    """Training batches `[images, labels]`, in an order that is a function of (seed, epoch): arms share it.

    Args:
        data: the images.
        size: images a batch.
        seed: of the order.
        drop_last: leave out an incomplete last batch.
        shuffle: False: the order of the file, every epoch.
        shift: every image is moved by up to so many pixels each way, drawn anew every epoch.
    """

    def __init__(
        self, data: Images, size: int, seed: int, drop_last: bool = False, shuffle: bool = True, shift: int = 0
    ):
        self.data, self.size, self.seed = data, size, seed
        self.drop_last, self.shuffle, self.shift = drop_last, shuffle, shift
        self.epoch = 0

    def __len__(self) -> int:
        count = len(self.data.x)
        return count // self.size if self.drop_last else -(-count // self.size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch) >> 1)
        self.epoch += 1
        count = len(self.data.x)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        order = order.to(self.data.x.device)
        for i in range(len(self)):
            chosen = order[i * self.size : (i + 1) * self.size]
            yield [self._moved(self.data.x[chosen], generator), self.data.y[chosen]]

    def _moved(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if not self.shift:
            return images
        moves = torch.randint(-self.shift, self.shift + 1, (len(images), 2), generator=generator).tolist()
        return torch.stack([shift_image(x, dy, dx) for x, (dy, dx) in zip(images, moves, strict=True)])


def shift_image(image: Tensor, dy: int, dx: int) -> Tensor:
    """Move an image (C, H, W) down by dy and right by dx pixels; what comes in has the image's least value."""
    moved = torch.full_like(image, float(image.min()))
    h, w = image.shape[-2:]
    moved[:, max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = image[
        :, max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return moved


def digits(
    root: Path,
    name: str = "MNIST",
    train: slice | Tensor = slice(None),
    held_out: slice | Tensor | None = None,
    mean: float | Tensor = 0.0,
    std: float | Tensor = 1.0,
) -> Images:
    """Return MNIST or Fashion-MNIST with pixels (x / 255 - mean) / std.

    Args:
        root: folder of the data.
        name: "MNIST" or "FashionMNIST".
        train: which of the 60,000 training images train.
        held_out: which of them are reported on; None: the 10,000 test images.
        mean: of the pixels, in [0, 1]; of each pixel, (28, 28), too.
        std: likewise, > 0.
    """
    x, y, test_x, test_y = files(root, name)
    held_x, held_y = (test_x, test_y) if held_out is None else (x[held_out], y[held_out])
    scale = lambda pixels: ((pixels[:, None].float() / 255) - mean) / std  # noqa: E731
    return Images(scale(x[train]), y[train], scale(held_x), held_y)


@lru_cache(maxsize=2)
def files(root: Path, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read training images (60000, 28, 28), uint8, and labels, int64, and those of the test; downloads what is absent."""
    data = {"MNIST": MNIST, "FashionMNIST": FashionMNIST}[name](root)
    data.prepare_data()
    (x, y), (test_x, test_y) = (part for part in map(data.read, ("train", "test")) if part is not None)
    return torch.tensor(x[..., 0]), y, torch.tensor(test_x[..., 0]), test_y
