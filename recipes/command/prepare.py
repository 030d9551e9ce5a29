"""`zoo prepare NAME`: resize a data set of photographs once, to train several times as fast."""

import sys
import time
from pathlib import Path
from typing import Any, Literal

import datamodules
from datamodules.frame.convert import write_chunks
from datamodules.frame.files import FileData
from datamodules.frame.pack_writer import write
from datamodules.frame.prepared_folder import read_header
from recipes.command.run import Parser
from recipes.frame.errors import UsageError, unknown

PARTS = ("train", "val", "test")
STORE = "s3://BUCKET"


def main(arguments: list[str]) -> None:
    """Run `zoo prepare NAME [options]`; the signature of `prepare` gives the options."""
    names = [name for name in datamodules.__all__ if name not in ("Prepared", "MNIST1D", "Arrays", "HuggingFace")]
    parser = Parser(prog="zoo prepare NAME", description="Make a data set of image files small, once.")
    parser.add_function_arguments(prepare, skip={"name"})
    if not arguments or arguments[0] in ("-h", "--help"):
        return parser.print_help()
    name = find(arguments[0], names)
    try:
        prepare(name, **parser.parse(arguments[1:]))
    except KeyboardInterrupt:
        print("zoo: stopped; nothing is left of it, the same command starts again", file=sys.stderr)
        sys.exit(130)


def find(name: str, names: list[str]) -> str:
    """Find the data module of this name; "tiny-imagenet" is TinyImageNet."""
    plain = name.lower().replace("-", "").replace("_", "")
    match = next((known for known in names if known.lower() == plain), None)
    if match is None:
        raise unknown("data module", name, names)
    return match


def prepare(
    name: str,
    root: Path = Path("data"),
    size: int = 256,
    format: Literal["packed", "litdata"] = "packed",
    out: Path | None = None,
    quality: int = 90,
    skip_unreadable: bool = False,
) -> Path:
    """Write a folder for `Prepared`, and print its contents and how to use it.

    Args:
        name: of a data module that reads files.
        root: folder of its files.
        size: length of the short side in pixels; smaller images are not enlarged.
        format: "packed" is one file, for a disk; "litdata" is chunks of 64 MB, for an object store.
        out: the folder to write; by default root/imagenet-256 for ImageNet, root-256 for an image folder.
        quality: of the JPEGs, 1 to 100.
        skip_unreadable: leave out images that cannot be read, with a warning (also --skip-unreadable).
    """
    kind = getattr(datamodules, name)
    if not issubclass(kind, FileData):
        raise UsageError(f"{name} is read into memory as a whole, which is faster than any files: nothing to prepare")
    out = default(name, root, size, format) if out is None else out
    data = kind(root)
    data.prepare_data()
    parts = {part: found for part in PARTS if (found := data.source(part)) is not None}
    if is_the_same(out, data.classes, parts, size, quality, format):
        print(f"{out} is there already, prepared from the same images with the same options")
        return tell(out, None)
    start = time.perf_counter()
    about: dict[str, Any] = {"mean": data.mean, "std": data.std, "val_split": data.val_split, "made_of": name}
    how: dict[str, Any] = {"side": size, "quality": quality, "skip_unreadable": skip_unreadable}
    (write if format == "packed" else write_chunks)(out, parts, data.classes, **how, **about)
    return tell(out, time.perf_counter() - start)


def default(name: str, root: Path, size: int, format: str) -> Path:
    """Choose the folder to write: inside `root`, or beside it if `root` holds the classes."""
    end = f"-{size}" + ("-litdata" if format == "litdata" else "")
    if name == "ImageFolder":
        root = root.resolve() if root.name in ("", "..") else root
        return root.with_name(f"{root.name}{end}")
    return root / f"{name.lower()}{end}"


def is_the_same(
    out: Path, classes: tuple[str, ...], parts: dict[str, Any], size: int, quality: int, format: str
) -> bool:
    """Return whether `out` already holds this data set with these options."""
    try:
        header = read_header(out)
    except (ValueError, OSError):  # missing, something else, or damaged
        return False
    wanted = {
        "side": size,
        "quality": quality,
        "storage": format,
        "classes": list(classes),
        "source": {part: len(targets) for part, (_, targets) in parts.items()},
    }
    return wanted.items() <= dict(header).items()


def tell(out: Path, seconds: float | None) -> Path:
    """Print the folder's contents, and the command that trains on it."""
    header = read_header(out)
    counts = {part: end - first for part, (first, end) in header["parts"].items()}
    total, size = sum(counts.values()), sum(size for size, _ in header["files"].values())
    print(f"{out}: " + ", ".join(f"{count:,} {part}" for part, count in counts.items()) + " images")
    print(
        f"  short side {header['side']}, JPEG quality {header['quality']}, a second generation: say so beside results"
    )
    print(f"  {size / 1e9:.3g} GB, {size / total / 1e3:.1f} kB an image")
    if left_out := sum(header["source"].values()) - total:
        print(f"  {left_out:,} images that cannot be read are left out")
    if seconds is not None:
        print(f"  {seconds:.0f} s, {total / seconds:,.0f} images a second")
    print(f'  Python: Prepared("{out}")    shell: zoo fit --data Prepared --data.root {out} ...')
    if header["storage"] == "litdata":
        print(f'  or copy it (aws s3 cp --recursive {out} {STORE}/{out.name}), then Prepared("{STORE}/{out.name}")')
    return out
