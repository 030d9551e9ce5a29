"""Training batches of CIFAR-10 a second, ready for the network: ours against torchvision's usual loader.

Command: python benchmarks/loader_cifar.py --record true
Ours:    crop from 4 pixels of padding, flip, normalise; batches of 512 in the main process.
Theirs:  torchvision's CIFAR10 with RandomCrop, RandomHorizontalFlip, ToTensor and Normalize on PIL images, in a
         DataLoader with 2 workers.
The images are random bytes, made in memory. Both take turns, round by round, so other work on the machine slows down
both. Each process has one thread of torch.
"""

import time

import _loaders
import jsonargparse
import numpy as np
import torch
from _loaders import Start
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10

from datamodules import CIFAR10

IMAGES, BATCH_SIZE, WORKERS = 50_000, 512, 2


def random_images() -> tuple[np.ndarray, torch.Tensor]:
    """Return 50,000 images, uint8 (n, 32, 32, 3), and their classes, int64 (n,)."""
    pixels = torch.randint(0, 256, (IMAGES, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return pixels.numpy(), torch.arange(IMAGES) % 10


class SyntheticCIFAR10(CIFAR10):
    """Our data module, on random images."""

    def read(self, part: str) -> tuple[np.ndarray, torch.Tensor] | None:
        return random_images() if part == "train" else None


def ours() -> tuple[Start, Start]:
    """Return two functions that start an epoch: of bytes as they leave the loader, and of normalised images."""
    data = SyntheticCIFAR10(batch_size=BATCH_SIZE, val_split=0)
    data.setup("fit")
    loader = data.train_dataloader()
    return lambda: iter(loader), lambda: (data.on_after_batch_transfer(batch, 0) for batch in loader)


def theirs() -> Start:
    """Return a function that starts an epoch of torchvision's data set and transforms."""
    data = TorchvisionCIFAR10.__new__(TorchvisionCIFAR10)  # without its files
    pixels, targets = random_images()
    steps = [
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(CIFAR10.mean, CIFAR10.std),
    ]
    data.data, data.targets, data.transform, data.target_transform = pixels, targets.tolist(), None, None
    data.transform = transforms.Compose(steps)
    loader = DataLoader(data, BATCH_SIZE, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True)
    return lambda: iter(loader)


def main(rounds: int = 5, record: bool = False) -> None:
    """Measure, and print a table.

    Args:
        rounds: epochs of each loader, after one to warm up.
        record: add the result to `results/loader_cifar.jsonl`.
    """
    torch.set_num_threads(1)
    begin = time.perf_counter()
    as_bytes, normalised = ours()
    paths = {"bytes": as_bytes, "normalised": normalised, "torchvision": theirs()}
    metrics = _loaders.show(_loaders.compare(paths, IMAGES // BATCH_SIZE, BATCH_SIZE, rounds))
    metrics["ratio"] = metrics["normalised"] / metrics["torchvision"]
    print(f"normalised / torchvision: {metrics['ratio']:.1f} times")
    if record:
        arguments = {"images": IMAGES, "batch_size": BATCH_SIZE, "workers": WORKERS, "rounds": rounds}
        _loaders.record("loader_cifar", arguments, metrics, begin)


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
