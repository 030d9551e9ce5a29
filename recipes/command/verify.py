"""`zoo verify`: a checkpoint that others published, in our network, on images whose checksum is known.

What is compared is one checkpoint: the interval of 95 % is of its accuracy on all such images, seen on so many
(Wilson's; the images are a part of those that the publisher reports on). Inside: it holds the published number.

Publishers normalise differently, so that mean and std are part of the table of published checkpoints below; a file that
is not in it takes them, its network and its number from the command line.
"""

import argparse
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

import datamodules
import zoo
from recipes.frame import records
from recipes.frame.errors import UsageError, unknown
from recipes.frame.verdict import proportion
from zoo import Classifier

RECORDS = "verify"  # results/verify.jsonl
SIDE = 32
Images = tuple[Tensor, Tensor]  # uint8 (N, 3, H, W), int64 (N,)


@dataclass(frozen=True)
class Publisher:
    """The publisher of a checkpoint, and its normalisation.

    Attributes:
        address: of the code and the files.
        mean: of each channel, subtracted.
        std: of each channel, divided by.
    """

    address: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint.

    Attributes:
        model: class of the zoo.
        variant: row of its table.
        accuracy: that the publisher reports, in percent.
        publisher: who.
    """

    model: str
    variant: str
    accuracy: float
    publisher: Publisher


AKAMASTER = Publisher("github akamaster/pytorch_resnet_cifar10", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CHENYAOFO = Publisher("github chenyaofo/pytorch-cifar-models", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))

# by the file's name, whose last word begins the SHA-256 of what is in it
CHECKPOINTS = {
    "resnet20-12fca82f.th": Checkpoint("ResNet", "20", 91.73, AKAMASTER),
    "resnet32-d509ac18.th": Checkpoint("ResNet", "32", 92.63, AKAMASTER),
    "resnet56-4bfd9763.th": Checkpoint("ResNet", "56", 93.39, AKAMASTER),
    "cifar10_resnet20-4118986f.pt": Checkpoint("ResNet", "20-B", 92.60, CHENYAOFO),
}

MOSAIC = "cifar10-lossless-test1000"  # 50 x 20 tiles, row by row
SUMS = {
    f"{MOSAIC}.webp": "eb381e439c1d4400e31d91549fc6ff55acf7196319c81f9ac9987565ae2da82e",
    f"{MOSAIC}.labels.txt": "7a910f7b2c553a86fae25363b5f63b1276c941bbc925d42d2659ad25c114193c",
}


def sha256(path: Path) -> str:
    """Return the checksum of a file. Raises UsageError where there is none."""
    if not path.is_file():
        raise UsageError(f"there is no {path}: fetch it, or give its folder with --data-dir")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_mosaic(root: Path) -> Images:
    """Read 1,000 of CIFAR-10's official test images from one lossless WebP file."""
    for name, expected in SUMS.items():
        if sha256(root / name) != expected:
            raise UsageError(f"{root / name} is damaged, or another file: its SHA-256 is not {expected}")
    with Image.open(root / f"{MOSAIC}.webp") as file:
        pixels = torch.from_numpy(np.array(file.convert("RGB")))
    labels = (root / f"{MOSAIC}.labels.txt").read_text().strip()
    return tiles(pixels), torch.tensor([int(digit) for digit in labels])


def tiles(mosaic: Tensor) -> Tensor:
    """Cut a picture (rows 32, columns 32, 3) into images (rows columns, 3, 32, 32), row by row."""
    rows = mosaic.unfold(0, SIDE, SIDE).unfold(1, SIDE, SIDE)  # (rows, columns, 3, 32, 32)
    return rows.flatten(0, 1)


def read_cifar10(root: Path) -> Images:
    """Read the 10,000 test images of CIFAR-10, with torchvision's checksums."""
    data = datamodules.CIFAR10(root)
    images, labels = data.read("test") or (np.empty(0), torch.empty(0))
    return torch.from_numpy(images).permute(0, 3, 1, 2), labels


SETS: dict[str, Callable[[Path], Images]] = {"cifar10-test1000": read_mosaic, "cifar10": read_cifar10}


class Parser(argparse.ArgumentParser):
    """Errors as those of all commands."""

    def error(self, message: str) -> NoReturn:
        """Raise the message."""
        raise UsageError(message)


def main(arguments: Sequence[str]) -> None:
    """Run `zoo verify ...`."""
    options = parse(arguments)
    published = resolve(options)
    if options.data not in SETS:
        raise unknown("test set", options.data, SETS)
    start = time.monotonic()
    images, labels = SETS[options.data](options.data_dir)
    model = build(options.file, published)
    right, count = count_right(model, images, labels, published.publisher), len(labels)
    line = record(options, published, right, count, time.monotonic() - start)
    Console(highlight=False, soft_wrap=True).print(sentence(options.file.name, published, right, count), markup=False)
    if options.record:
        records.append(RECORDS, line)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the options. Raises UsageError."""
    parser = Parser(prog="zoo verify", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", type=Path, help="a checkpoint; known: " + ", ".join(CHECKPOINTS))
    parser.add_argument("--model", help="class of the zoo, such as ResNet")
    parser.add_argument("--variant", help="row of its table, such as 32")
    parser.add_argument("--data", default="cifar10-test1000", help="test set: " + ", ".join(SETS))
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the test set")
    parser.add_argument("--mean", type=numbers, help="the publisher's, for pixels in [0, 1], as 0.485,0.456,0.406")
    parser.add_argument("--std", type=numbers, help="likewise")
    parser.add_argument("--published", type=float, help="accuracy that the publisher reports, in percent")
    parser.add_argument("--record", action="store_true", help="add a line to results/verify.jsonl")
    return parser.parse_args(list(arguments))


def numbers(text: str) -> tuple[float, ...]:
    """Read "0.485,0.456,0.406"."""
    return tuple(map(float, text.split(",")))


def resolve(options: argparse.Namespace) -> Checkpoint:
    """Return a file's published values, overridden by the options. Raises UsageError for missing ones."""
    known = CHECKPOINTS.get(options.file.name)
    checksum = sha256(options.file)
    if known and not checksum.startswith(options.file.stem.rpartition("-")[2]):
        raise UsageError(
            f"{options.file} is damaged or another file: its SHA-256 begins with {checksum[:8]}, not as in its name"
        )
    of_publisher = known.publisher if known else None
    values: dict[str, Any] = {
        "--model": options.model or (known and known.model),
        "--variant": options.variant or (known and known.variant),
        "--published": known.accuracy if known and options.published is None else options.published,
        "--mean": options.mean or (of_publisher and of_publisher.mean),
        "--std": options.std or (of_publisher and of_publisher.std),
    }
    if missing := [name for name, value in values.items() if value is None]:
        raise UsageError(f"{options.file.name} is not a known checkpoint: add {', '.join(missing)}")
    model, variant, accuracy, mean, std = values.values()
    return Checkpoint(
        model, variant, accuracy, Publisher(of_publisher.address if of_publisher else "unknown", mean, std)
    )


def build(file: Path, published: Checkpoint) -> Classifier:
    """Return the network with the file's weights, in evaluation."""
    if published.model not in zoo.__all__:
        raise unknown("model", published.model, zoo.__all__)
    kind = getattr(zoo, published.model)
    model: Classifier = kind(published.variant, num_classes=10, image_size=SIDE, weights=str(file))
    return model.eval()


@torch.inference_mode()
def count_right(model: Classifier, images: Tensor, labels: Tensor, publisher: Publisher, batch: int = 250) -> int:
    """Count the images that the network classifies correctly, with its publisher's normalisation."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (publisher.mean, publisher.std))
    right = 0
    for x, y in zip(images.split(batch), labels.split(batch), strict=True):
        right += int((model((x / 255 - mean) / std).argmax(1) == y).sum())
    return right


def record(
    options: argparse.Namespace, published: Checkpoint, right: int, count: int, seconds: float
) -> dict[str, Any]:
    """Return the line of results/."""
    low, high = proportion(right, count)
    metrics = {"right": right, "images": count, "accuracy": 100 * right / count, "low": 100 * low, "high": 100 * high}
    arguments = {
        "file": options.file.name,
        "model": published.model,
        "variant": published.variant,
        "data": options.data,
        "mean": list(published.publisher.mean),
        "std": list(published.publisher.std),
    }
    metrics |= {"published": published.accuracy}
    return {"arguments": arguments, "seed": 0, "metrics": metrics, "seconds": seconds}


def sentence(file: str, published: Checkpoint, right: int, count: int) -> str:
    """Say accuracy, interval, published number and verdict in one line."""
    low, high = (100 * edge for edge in proportion(right, count))
    word = "inside" if low <= published.accuracy <= high else "outside"
    digits = max(1, math.ceil(math.log10(count)) - 2)
    return (
        f"{file}, {published.model}-{published.variant}: {100 * right / count:.{digits}f} % of {count:,} images, "
        f"interval {low:.1f} to {high:.1f}; published {published.accuracy:.2f} ({published.publisher.address}): {word}"
    )


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
