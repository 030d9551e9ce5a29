"""MNIST-1D: ten signals of 40 numbers, drawn from templates that are stretched, moved, bent and covered with noise.

Paper: Scaling Down Deep Learning with MNIST-1D (Greydanus, Kobak; ICML 2024) https://arxiv.org/abs/2011.14439
Code:  https://github.com/greydanus/mnist1d at 7878d960, mnist1d/data.py and transform.py; what `signals` draws is their
       file mnist1d_data.pkl (4,000 and 1,000 signals, seed 42) to the last bit or two (a checksum of rounded
       numbers)
"""

import hashlib

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

Array = NDArray[np.float64]

TEMPLATES: Array = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
LENGTH, PADDING, LONGEST = (
    40,
    (36, 60),
    72,
)  # numbers in a signal, zeros behind a template, numbers before the last step
MOVED, STRETCHED, SHEARED = 48, 0.4, 0.75
SMOOTH_NOISE, WHITE_NOISE, EPS = 0.25, 0.02, 1e-8
CHECKSUM = "304f43cfcc9d8d052aa0fe586cd9ca9a08235417e6afd5858c522480472965a4"  # of the authors' file, see `checksum`


def templates() -> Array:
    """Return the ten digits as curves of 12 numbers that begin at 0, (10, 12)."""
    x = TEMPLATES - TEMPLATES.mean(1, keepdims=True)
    x = x / x.std(1, keepdims=True)
    return (x - x[:, :1]) / 6


def resample(x: Array, length: int) -> Array:
    """Interpolate a curve linearly at `length` points."""
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(x)), x)


def draw(template: Array, chance: np.random.RandomState) -> Array:
    """Draw one signal (40,) of a template (12,)."""
    from scipy.ndimage import gaussian_filter  # scikit-learn brings it

    low, high = PADDING
    zeros = low + int(chance.rand() * (high - low + 1))
    x = resample(np.concatenate([template + EPS, np.zeros(zeros)]), LONGEST)
    x = x * (1 + STRETCHED * (chance.rand() - 0.5))
    x = np.roll(x, chance.choice(MOVED))
    smooth = gaussian_filter(SMOOTH_NOISE * chance.randn(LONGEST), 2)  # the zeros behind the template
    x = np.where(x != 0, x, smooth) + WHITE_NOISE * chance.randn(LONGEST)
    slope = SHEARED * (chance.rand() - 0.5)
    return resample(x - slope * np.linspace(-0.5, 0.5, LONGEST), LENGTH)


def signals(count: int = 5000, seed: int = 42) -> tuple[Array, NDArray[np.int64]]:
    """Draw a set of signals, and normalise the whole set to mean 0 and standard deviation 1, as the authors do.

    Args:
        count: number of signals, a multiple of 10; each class gets as many.
        seed: of numpy's old generator, which the authors use.

    Returns:
        Signals (count, 40) and classes (count,), in random order.
    """
    chance = np.random.RandomState(seed)
    each = count // len(TEMPLATES)
    drawn = np.stack([draw(template, chance) for template in templates() for _ in range(each)])
    order = chance.permutation(len(drawn))
    x, y = drawn[order], np.repeat(np.arange(len(TEMPLATES)), each)[order]
    return (x - x.mean()) / x.std(), y


def checksum(x: Array, y: NDArray[np.int64]) -> str:
    """Return the SHA-256 of signals rounded to 1e-6 and of their classes."""
    return hashlib.sha256(np.round(x * 1e6).astype("<i8").tobytes() + y.astype("<i8").tobytes()).hexdigest()


class MNIST1D(L.LightningDataModule):
    """MNIST-1D as images of one row: batches `[signals, classes]`, float32 (N, 1, 1, 40), for `ConvNet` and `MLP`.

    Signals are not images of bytes, so this is not an `ImageData`: it has no augmentation, and only the authors' split.

    Args:
        batch_size: signals per batch.
        train: number of training signals.
        test: number of test signals; `train + test` is a multiple of 10.
        seed: of the signals, not of the run.

    Raises:
        ValueError: the sum is not a multiple of 10.
    """

    classes = tuple("0123456789")
    num_classes = 10
    image_size = LENGTH

    def __init__(self, batch_size: int = 100, *, train: int = 4000, test: int = 1000, seed: int = 42):
        super().__init__()
        if min(train, test) < 1 or (train + test) % 10:
            raise ValueError(
                f"MNIST1D needs train >= 1 and test >= 1, their sum a multiple of 10, got {train} and {test}"
            )
        self.batch_size, self.train, self.test, self.seed = batch_size, train, test, seed

    def setup(self, stage: str | None = None) -> None:
        """Draw the signals: five thousand a second."""
        x, y = signals(self.train + self.test, self.seed)
        images, labels = torch.from_numpy(x).float()[:, None, None], torch.from_numpy(y)
        self.train_set = TensorDataset(images[: self.train], labels[: self.train])
        self.test_set = TensorDataset(images[self.train :], labels[self.train :])

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return batches in an order drawn for each epoch."""
        return DataLoader(self.train_set, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the test signals: the authors have no validation part."""
        return self.test_dataloader()

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the test signals in order."""
        return DataLoader(self.test_set, self.batch_size)
