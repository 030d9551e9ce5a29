"""`zoo data show NAME`: what a data set holds, in words and a picture. `zoo data verify FOLDER`: its bytes."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

import datamodules
from datamodules.frame.files import FileData
from datamodules.frame.measure import measure_files
from datamodules.frame.prepared_folder import read_header, verify
from datamodules.transforms.catalogue import PRESETS
from recipes.command.prepare import find
from recipes.command.run import Parser
from recipes.frame import catalogue
from recipes.frame.errors import UsageError, unknown

ROWS = 24  # bars at most, unless all are asked for
NARROWEST = 10  # characters of a name or a bar


def main(arguments: list[str]) -> None:
    """Run `zoo data verify FOLDER`, or `zoo data show NAME [options]`: the signature of `show` gives the options."""
    if arguments[0] == "verify":
        return check(arguments[1:])
    parser = Parser(prog="zoo data show NAME", description="What a data set holds.")
    parser.add_function_arguments(show, skip={"name"})
    if arguments[0] != "show":
        raise unknown("command", f"data {arguments[0]}", ["data", "data show", "data verify"])
    if len(arguments) < 2 or arguments[1] in ("-h", "--help"):
        return parser.print_help()
    show(find(arguments[1], of_images()), **parser.parse(arguments[2:]))


def check(arguments: list[str]) -> None:
    """Read a whole folder of `zoo prepare`; say that no byte has changed, or raise an error that names the file."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise UsageError("name one folder made by `zoo prepare`: zoo data verify FOLDER")
    folder = Path(arguments[0]).expanduser()
    verify(folder)
    header = read_header(folder)
    size, images = sum(size for size, _ in header["files"].values()), sum(b - a for a, b in header["parts"].values())
    print(f"{folder}: {images:,} images, {size / 1e9:.3g} GB in {len(header['files'])} files, all as they were written")


def of_images() -> list[str]:
    """Return the names of the data modules of images that are found by name: MNIST1D has signals, Arrays are given."""
    return [name for name in datamodules.__all__ if name not in ("Arrays", "MNIST1D")]


def show(name: str, root: str | None = None, batch: Path | None = None, sample: int = 2000, all: bool = False) -> None:
    """Print parts, classes, sizes, mean and std, transforms and the number of images of each class.

    Args:
        name: of a data module.
        root: where its files are; by default its own.
        batch: draw the first training images, augmented, into this file (.png, .pdf, .svg).
        sample: images of which mean and standard deviation are measured, where files have none; 0 for all.
        all: a bar for each class, however many there are.
    """
    data = build(name, root)
    data.prepare_data()
    data.setup()
    line = next(entry.line for entry in catalogue.datamodules() if entry.name == name)
    width = shutil.get_terminal_size().columns
    print(f"{name}: {line}\n")
    for title, text in facts(data, sample or None):
        print(f"{title:<12}{text}")
    print()
    print("\n".join(histogram(data.classes, data.class_counts, width, None if all else ROWS)))
    if batch is not None:
        data.show_batch().savefig(batch)
        print(f"\n{batch}: the first training images, augmented")


def build(name: str, root: str | None) -> Any:
    """Build the data module."""
    kind = getattr(datamodules, name)
    if root is None:
        if name in ("ImageFolder", "Prepared"):
            raise UsageError(f"{name} reads your own images: give their folder with --root")
        if name in ("Table", "HuggingFace"):
            raise UsageError(
                f"{name} has no data of its own: give {'its file' if name == 'Table' else 'its name'} with --root"
            )
        return kind()
    if name == "Digits":
        raise UsageError("Digits come with scikit-learn: leave out --root")
    return kind(root)


def facts(data: Any, sample: int | None) -> list[tuple[str, str]]:
    """Describe the data as pairs of a title and a line."""
    parts = {"train": len(data.train_indices), "validation": len(data.val_indices)}
    if data.test_set is not None:
        parts["test"] = len(data.test_set)
    counts, names = data.class_counts, ", ".join(data.classes[:6])
    few, many = counts.min(), counts.max()
    side = data.image_size
    rows = [
        ("images", ", ".join(f"{count:,} {part}" for part, count in parts.items())),
        ("classes", f"{data.num_classes}: {names}" + (", ..." if data.num_classes > 6 else "")),
        ("size", f"{side} x {side} pixels for the network"),
        *colours(data, sample),
        ("training", training(data)),
        ("evaluation", str(data.evaluation) if reads_files(data) else "as they are"),
        ("balance", f"{few:,} to {many:,} images a class" + (f", 1 to {many / few:.3g}" if few else "")),
    ]
    return rows


def reads_files(data: Any) -> bool:
    """Return whether images are decoded again in each epoch."""
    return isinstance(data, FileData) and getattr(data, "memory", None) is None


def colours(data: Any, sample: int | None) -> list[tuple[str, str]]:
    """Show mean and std in use and their source; the data's own beside them where they are another's."""

    def numbers(mean: Iterable[float], std: Iterable[float]) -> str:
        return "(" + ", ".join(f"{x:.4f}" for x in mean) + ") and (" + ", ".join(f"{x:.4f}" for x in std) + ")"

    used = numbers(data.mean, data.std)
    if not reads_files(data):
        known = type(data).mean is not None and not isinstance(data, FileData)
        return [("mean, std", f"{used}, {'as published' if known else 'measured on all training images'}")]
    rows = [("mean, std", used + (", ImageNet's" if tuple(data.mean) == FileData.mean else ""))]
    if not isinstance(data, datamodules.ImageNet):
        mean, std, count = measure_files(data.train_set, data.train_indices, sample)
        which = "all" if count == len(data.train_indices) else f"{count:,} of {len(data.train_indices):,}"
        rows.append(("  measured", f"{numbers(mean, std)}, on {which} training images"))
    return rows


def training(data: Any) -> str:
    """Describe the augmentation in a line."""
    if reads_files(data):
        return describe(data.transform)
    data = getattr(data, "memory", None) or data
    if not hasattr(data, "padding"):  # `Shapes` and photographs with boxes
        return "as they are"
    steps = [f"crop from {data.padding} pixels of padding"] if data.padding else []
    steps += ["flip"] if data.flip else []
    steps += [describe(data.transform)] if data.transform is not None else []
    steps += [f"cutout of {data.cutout} pixels"] if data.cutout else []
    return ", ".join(steps) or "as they are"


def describe(transform: Any) -> str:
    """Write a preset with its operations, or a list item by item."""
    if isinstance(transform, str):
        return f"{transform}: {', '.join(PRESETS[transform])}" if transform in PRESETS else transform
    return ", ".join(map(describe, transform)) if isinstance(transform, list | tuple) else repr(transform)


def histogram(classes: tuple[str, ...], counts: Tensor, width: int, rows: int | None) -> list[str]:
    """Draw a bar a class in `width` characters; of more than `rows` classes, the largest and the smallest.

    Args:
        classes: names.
        counts: (K,) int64.
        width: characters a line.
        rows: lines, or None for all.
    """
    order = list(range(len(classes)))
    shown = len(classes) if rows is None else min(rows, len(classes))
    left_out = len(classes) - shown
    if left_out:
        order = counts.argsort(descending=True, stable=True).tolist()
        order = order[: shown // 2] + order[len(order) - shown // 2 :]
    number = max(len(f"{count:,}") for count in counts.tolist())
    name = min(max(len(classes[k]) for k in order), max(NARROWEST, width // 3))
    room = max(NARROWEST, width - name - number - 2)
    lines = []
    for k in order:
        length = round(room * int(counts[k]) / max(1, int(counts.max())))
        label = classes[k] if len(classes[k]) <= name else classes[k][: name - 1] + "…"
        lines.append(f"{label:<{name}} {int(counts[k]):>{number},} {'█' * length}".rstrip())
    if left_out:
        lines.insert(shown // 2, f"... {left_out:,} classes between ... (--all shows them)"[:width])
    return lines
