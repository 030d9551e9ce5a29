"""Training batches of CIFAR-10 a second, ready for the network: ours against torchvision's usual way.

Command: python benchmarks/loader_cifar.py --record true
Ours:    crop from 4 pixels of padding, flip, normalise; batches of 512 in the main process.
Theirs:  torchvision's CIFAR10 with RandomCrop, RandomHorizontalFlip, ToTensor and Normalize on PIL images, in a
         DataLoader with 2 workers.
The images are random bytes, made in memory. Rounds of both take turns, so that other work on the machine slows down
both. One thread of torch in each process.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import jsonargparse
import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10

from datamodules import CIFAR10
from recipes._results import append

IMAGES, BATCH_SIZE, WORKERS = 50_000, 512, 2


def random_images() -> tuple[np.ndarray, torch.Tensor]:
    """50,000 images uint8 (n, 32, 32, 3) and their classes (n,) int64."""
    pixels = torch.randint(0, 256, (IMAGES, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return pixels.numpy(), torch.arange(IMAGES) % 10


class SyntheticCIFAR10(CIFAR10):
    """Ours, on random images."""

    def read(self, part: str) -> tuple[np.ndarray, torch.Tensor] | None:
        return random_images() if part == "train" else None


def ours() -> tuple[Callable[[], Iterator], Callable[[], Iterator]]:
    """Two functions that start an epoch: of bytes as they leave the loader, and normalised."""
    data = SyntheticCIFAR10(batch_size=BATCH_SIZE, val_split=0)
    data.setup("fit")
    loader = data.train_dataloader()
    return lambda: iter(loader), lambda: (data.on_after_batch_transfer(batch, 0) for batch in loader)


def theirs() -> Callable[[], Iterator]:
    """A function that starts an epoch of torchvision's data set and transforms."""
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


def rate(start: Callable[[], Iterator], batches: int) -> float:
    """Images a second over the first batches of an epoch, its start included."""
    begin = time.perf_counter()
    for _, _ in zip(range(batches), start(), strict=False):
        pass
    return batches * BATCH_SIZE / (time.perf_counter() - begin)


def main(rounds: int = 5, record: bool = False) -> dict[str, float]:
    """Measures, and prints a table.

    Args:
        rounds: epochs of each path, after one to warm up.
        record: add the result to `results/loader_cifar.jsonl`.

    Returns:
        Medians in images a second, and the ratio of ours (normalised) to torchvision's.
    """
    torch.set_num_threads(1)
    begin = time.perf_counter()
    as_bytes, normalised = ours()
    paths = {"bytes": as_bytes, "normalised": normalised, "torchvision": theirs()}
    rates = {name: [] for name in paths}
    for i in range(rounds + 1):
        for name, start in paths.items():
            measured = rate(start, IMAGES // BATCH_SIZE)
            if i > 0:  # the first round starts the workers and warms the memory up
                rates[name].append(measured)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    metrics = {**medians, "ratio": medians["normalised"] / medians["torchvision"]}
    show(rates, metrics)
    if record:
        arguments = {"images": IMAGES, "batch_size": BATCH_SIZE, "workers": WORKERS, "rounds": rounds}
        append(
            "loader_cifar",
            {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": time.perf_counter() - begin},
        )
    return metrics


def show(rates: dict[str, list[float]], metrics: dict[str, float]) -> None:
    labels = {
        "bytes": "ours: bytes, 0 workers",
        "normalised": "ours: normalised, 0 workers",
        "torchvision": f"torchvision: PIL, {WORKERS} workers",
    }
    print(f"{'images a second':<30} {'median':>10} {'lowest':>10} {'highest':>10}")
    for name, values in rates.items():
        print(f"{labels[name]:<30} {metrics[name]:>10,.0f} {min(values):>10,.0f} {max(values):>10,.0f}")
    print(f"normalised / torchvision: {metrics['ratio']:.1f} times")


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
