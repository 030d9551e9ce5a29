"""Training batches of Tiny-ImageNet a second, ready for the network: ours in memory against torchvision's usual loader.

Command: python benchmarks/loader_tiny.py DATA --record true
Ours:    crop from 8 pixels of padding, flip, normalise; batches of 256 in the main process, in memory.
Theirs:  torchvision's ImageFolder on the JPEG files, with RandomCrop, RandomHorizontalFlip, ToTensor and Normalize on
         PIL images, in a DataLoader with 2 workers; and the same on images that are decoded already, in memory.
All take turns, round by round, so other work on the machine slows all down. Each process has one thread of torch.
"""

import tempfile
import time
from pathlib import Path

import _loaders
import jsonargparse
import torch
from _loaders import Start
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from datamodules import TinyImageNet
from datamodules.frame.unpack import unpack

BATCH_SIZE, WORKERS = 256, 2
STEPS = [
    transforms.RandomCrop(64, padding=8),
    transforms.RandomHorizontalFlip(),
    transforms.ToTensor(),
    transforms.Normalize(TinyImageNet.mean, TinyImageNet.std),
]


class Decoded(Dataset):
    """Decoded images in an array; each becomes a PIL image when it is read, as in torchvision's CIFAR10."""

    def __init__(self, images, targets: torch.Tensor):
        self.images, self.targets, self.transform = images, targets.tolist(), transforms.Compose(STEPS)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int):
        return self.transform(Image.fromarray(self.images[i])), self.targets[i]


def theirs(data: Dataset) -> Start:
    loader = DataLoader(data, BATCH_SIZE, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True)
    return lambda: iter(loader)


def main(root: Path, rounds: int = 5, record: bool = False) -> None:
    """Measure, and print a table.

    Args:
        root: data of `TinyImageNet`: its zip, or a zip of that layout.
        rounds: rounds of each loader, after one to warm up.
        record: add the result to `results/loader_tiny.jsonl`.
    """
    torch.set_num_threads(1)
    begin = time.perf_counter()
    data = TinyImageNet(root, BATCH_SIZE, val_split=0)
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    with tempfile.TemporaryDirectory() as folder:
        files = ImageFolder(jpegs(root, Path(folder)), transforms.Compose(STEPS))
        paths = {
            "bytes": lambda: iter(loader),
            "normalised": lambda: (data.on_after_batch_transfer(batch, 0) for batch in loader),
            "torchvision, files": theirs(files),
            "torchvision, decoded": theirs(Decoded(data.train_set.images, data.train_set.targets)),
        }
        metrics = _loaders.show(_loaders.compare(paths, len(loader), BATCH_SIZE, rounds))
    for name in ("files", "decoded"):
        metrics[f"ratio to {name}"] = metrics["normalised"] / metrics[f"torchvision, {name}"]
        print(f"normalised / torchvision, {name}: {metrics[f'ratio to {name}']:.1f} times")
    if record:
        arguments = {"images": len(files), "batch_size": BATCH_SIZE, "workers": WORKERS, "rounds": rounds}
        _loaders.record("loader_tiny", arguments, metrics, begin)


def jpegs(root: Path, folder: Path) -> Path:
    """Return the folder of training files, with one folder for each class; unpack the zip if needed."""
    for found in (root / "train", root / "tiny-imagenet-200" / "train"):
        if found.is_dir():
            return found
    archive = root if root.suffix == ".zip" else root / "tiny-imagenet-200.zip"
    unpack(archive, folder / "data")
    return next((folder / "data").glob("**/train"))


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
