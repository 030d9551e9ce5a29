"""Images in memory as rows of papers use them: which train, which are reported on, what is subtracted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules import CIFAR10, MNIST, FashionMNIST
from zoo.frame.seeds import mix

Border = Literal["black", "reflect"]


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

    def hold_out(self, size: int = 1000) -> "InOrder":
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


@dataclass(frozen=True)
class Moves:
    """How training images move, drawn anew for each image and epoch.

    Args:
        shift: by up to so many pixels each way: a crop from as many pixels of padding.
        border: what comes in: "black", the least value of each channel in the batch; or "reflect", the pixels inside.
        flip: mirror half of the images.
    """

    shift: int = 0
    border: Border = "black"
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Move images (N, C, H, W)."""
        if self.shift:
            moves = torch.randint(-self.shift, self.shift + 1, (len(images), 2), generator=generator)
            images = shift_images(images, moves.to(images.device), self.shift, self.border)
        if self.flip:
            mirrored = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device) < 0.5
            images = torch.where(mirrored, images.flip(-1), images)
        return images


def shift_images(images: Tensor, moves: Tensor, most: int, border: Border = "black") -> Tensor:
    """Move images (N, C, H, W) down and right by `moves` (N, 2), of -most to most pixels; `border` as in `Moves`."""
    n, _, h, w = images.shape
    black = images.amin((0, 2, 3), keepdim=True)
    padded = F.pad(images - black, (most,) * 4, mode="reflect" if border == "reflect" else "constant") + black
    down, right = moves.view(n, 2, 1).unbind(1)
    rows = torch.arange(h, device=images.device) + most - down
    columns = torch.arange(w, device=images.device) + most - right
    chosen = torch.arange(n, device=images.device)[:, None, None], slice(None), rows[:, :, None], columns[:, None]
    return padded[chosen].movedim(-1, 1)


STILL = Moves()


class Batches:
    """Training batches `[images, labels]`, in an order that is a function of (seed, epoch): arms share it.

    Args:
        data: the images.
        size: images a batch.
        seed: of the order.
        drop_last: leave out an incomplete last batch.
        shuffle: False: the order of the file, every epoch.
        moves: how the images move.
    """

    def __init__(
        self, data: Images, size: int, seed: int, drop_last: bool = False, shuffle: bool = True, moves: Moves = STILL
    ):
        self.data, self.size, self.seed = data, size, seed
        self.drop_last, self.shuffle, self.moves = drop_last, shuffle, moves
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
            yield [self.moves(self.data.x[chosen], generator), self.data.y[chosen]]


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
    """Read training images (60000, 28, 28), uint8, labels, int64, and those of the test; download what is absent."""
    data = {"MNIST": MNIST, "FashionMNIST": FashionMNIST}[name](root)
    data.prepare_data()
    (x, y), (test_x, test_y) = (part for part in map(data.read, ("train", "test")) if part is not None)
    return torch.tensor(x[..., 0]), y, torch.tensor(test_x[..., 0]), test_y


def cifar(root: Path, mean: Sequence[float] = CIFAR10.mean, std: Sequence[float] = CIFAR10.std) -> Images:
    """Return CIFAR-10 with pixels (x / 255 - mean) / std: 50,000 images that train, 10,000 of the test.

    Args:
        root: folder of the data.
        mean: of each channel, in [0, 1].
        std: likewise, > 0.
    """
    data = CIFAR10(root)
    data.prepare_data()
    parts = []
    for part in ("train", "test"):
        found = data.read(part)
        assert found is not None, "CIFAR-10 has both parts"
        pixels = torch.tensor(found[0]).movedim(-1, 1).float() / 255
        parts += [pixels.sub_(torch.tensor(mean).view(3, 1, 1)).div_(torch.tensor(std).view(3, 1, 1)), found[1]]
    return Images(*parts)
