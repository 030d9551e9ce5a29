"""Find images in folders: their parts, their classes, and files of formats that are not read."""

import mimetypes
import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image

from datamodules.frame.decode import SUFFIXES

NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# Images that neither Pillow nor the system's list of types may know: Apple's, JPEG XL, and cameras' raw formats.
MORE = {".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".rw2", ".orf", ".raf"}


def find_parts(root: Path) -> dict[str, Path]:
    """Return the folders of "train", "val" and "test"; {"train": root} if `root` has classes and no parts.

    Raises:
        ValueError: two folders are the same part, or there are parts but no training images.
    """
    found: dict[str, Path] = {}
    others = []
    for folder in subfolders(root):
        part = next((part for part, names in NAMES.items() if folder.name.lower() in names), None)
        if part is None:
            others.append(folder)
        elif part in found:
            raise ValueError(f"{found[part]} and {folder} both look like the images for {part}: rename one of them")
        else:
            found[part] = folder
    if "train" in found and (subfolders(found["train"]) or not others):
        _tell_of_others(found, others)
        return found
    if found and not others:
        raise ValueError(
            f"{root} has {', '.join(path.name for path in found.values())} and no folder of training images: call it "
            f"{' or '.join(NAMES['train'])}"
        )
    return {"train": root}  # a class may be named "train"


def _tell_of_others(found: dict[str, Path], others: list[Path]) -> None:
    """Warn of folders beside `train` that have its classes, and a name that says nothing."""
    classes = {folder.name for folder in subfolders(found["train"])}
    if passed_over := [folder.name for folder in others if classes & {inner.name for inner in subfolders(folder)}]:
        rank_zero_warn(
            f"{found['train'].parent} has folders with the classes of {found['train'].name}, which are not used: "
            f"{', '.join(passed_over)}: call them {NAMES['val'][0]} or {NAMES['test'][0]}, or move them elsewhere"
        )


def subfolders(folder: Path) -> list[Path]:
    """Return the subfolders, including links to folders, sorted; hidden ones are skipped."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: it should hold one folder of images a class")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def flat_images(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Return the images of a folder without subfolders, sorted; none if it has subfolders."""
    return [] if subfolders(folder) else images_below(folder, suffixes)[0]


def find_images(folder: Path, suffixes: Collection[str] = SUFFIXES) -> dict[str, list[Path]]:
    """Return {class: its image files}, both sorted. Hidden files and folders are skipped.

    A warning counts the files of image formats that are not read.

    Raises:
        ValueError: there are no classes, or one has no images.
    """
    classes = subfolders(folder)
    if not classes:
        raise ValueError(f"{folder} has no folders in it: it should hold one folder of images a class")
    found, others = {}, Counter[str]()
    for path in classes:
        found[path.name], strange = images_below(path, suffixes)
        others += strange
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in others.most_common())
    if empty := [name for name, images in found.items() if not images]:
        hint = f" ({kinds} are not read)" if others else ""
        raise ValueError(f"no images in {', '.join(str(folder / name) for name in empty)}{hint}: fill or delete it")
    if others:
        rank_zero_warn(f"{folder} has images in unsupported formats, which are skipped: {kinds}: convert them to PNG")
    return found


def images_below(folder: Path, suffixes: Collection[str] = SUFFIXES) -> tuple[list[Path], Counter[str]]:
    """Return a folder's image files at any depth, sorted, and the suffixes of unsupported images.

    Links are followed; each folder is visited once.
    """
    images, others, seen = [], Counter[str](), set()
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes and not name.startswith("."):
                images.append(Path(where, name))
            elif is_image(suffix) and not name.startswith("."):
                others[suffix] += 1
    return sorted(images), others


def is_image(suffix: str) -> bool:
    """Return whether files with this suffix are images, of any format."""
    kind = mimetypes.guess_type(f"x{suffix}")[0] or ""
    return suffix in MORE or kind.startswith("image/") or suffix in Image.registered_extensions()
