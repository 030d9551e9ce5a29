"""Read labels of Tiny-ImageNet's images from its zip or folder, and check that its files agree."""

import hashlib
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Lock
from zipfile import BadZipFile, ZipFile

from datamodules.frame.decode import SUFFIXES
from datamodules.frame.synsets import check_owners, first_names

NAME = "tiny-imagenet-200"
ANNOTATIONS = "val/val_annotations.txt"
FINGERPRINT = 16  # characters
MAX_BYTES = 1 << 26  # stated size of a file in the zip: 64 MB, where an image has 2 kB and a list 2 MB
AGAIN = "unpack the official archive again, or mend the file"


def find(root: Path) -> Path | None:
    """Return the folder with `wnids.txt`, or the zip; None if there is neither."""
    for folder in (root, root / NAME):
        if (folder / "wnids.txt").is_file():
            return folder
    return next((file for file in (root, root / f"{NAME}.zip") if file.suffix == ".zip" and file.is_file()), None)


class Folder:
    """Files below a folder; `stamps` maps each name to values that change with the file."""

    def __init__(self, place: Path):
        self.place = place

    @cached_property
    def stamps(self) -> dict[str, tuple[int, int]]:
        """Name -> size and time of a file."""
        found = ((path, path.stat()) for path in self.place.rglob("*") if path.is_file())
        return {path.relative_to(self.place).as_posix(): (s.st_size, s.st_mtime_ns) for path, s in found}

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.place / name).read_bytes()


class Zip:
    """Files in a zip, without its top folder."""

    def __init__(self, place: Path):
        try:
            self.archive = ZipFile(place)
        except BadZipFile as error:
            raise ValueError(f"{place} is damaged ({error}): delete it and fetch it again") from error
        infos = [info for info in self.archive.infolist() if not info.is_dir()]
        top = next((i.filename.removesuffix("wnids.txt") for i in infos if i.filename.endswith("wnids.txt")), None)
        if top is None:
            raise ValueError(f"{place} holds no wnids.txt: it is not Tiny-ImageNet")
        self.place, self.top, self.lock = place, top, Lock()
        self.stamps = {i.filename.removeprefix(top): (i.file_size, i.CRC) for i in infos if i.filename.startswith(top)}

    def __reduce__(self) -> tuple[type["Zip"], tuple[Path]]:
        return Zip, (self.place,)  # another process opens the file itself

    def read(self, name: str) -> bytes:
        """Return the content of a member. Raise a ValueError if its stated size is too large for an image."""
        if self.stamps[name][0] > MAX_BYTES:
            raise ValueError(
                f"{self.place} holds {name} of {self.stamps[name][0]:,} bytes, too large for an image of 64 px"
            )
        with self.lock:  # ZipFile counts its open members without one
            return self.archive.read(self.top + name)


class Layout:
    """Classes and labelled images, which are checked before use.

    Args:
        place: from `find`.

    Raises:
        ValueError: files, annotations and classes do not agree.
    """

    def __init__(self, place: Path):
        self.place = place
        self._images: dict[str, list[tuple[str, int]]] = {}
        self.files: Zip | Folder = Zip(place) if place.is_file() else Folder(place)
        wnids = self._text("wnids.txt").split()
        self.wnids = tuple(sorted(set(wnids)))
        if not wnids or len(self.wnids) < len(wnids):
            raise ValueError(f"{place}: wnids.txt is empty or lists a class twice: {AGAIN}")
        words = self._text("words.txt") if "words.txt" in self.files.stamps else ""
        self.classes = first_names(self.wnids, dict(line.split("\t", 1) for line in words.splitlines() if "\t" in line))

    def read(self, name: str) -> bytes:
        """Return the content of an image, or any other file."""
        return self.files.read(name)

    def _text(self, name: str) -> str:
        return self.files.read(name).decode("utf-8")

    def images(self, part: str) -> list[tuple[str, int]]:
        """Return (name, class) of each image of "train" or "test" (the official `val`), by class and name."""
        if part not in self._images:
            self._images[part] = self._check(part)
        return self._images[part]

    def _check(self, part: str) -> list[tuple[str, int]]:
        found = self._train() if part == "train" else self._val()
        if empty := [wnid for wnid in self.wnids if not found.get(wnid)]:
            where = "train" if part == "train" else "val"
            raise ValueError(
                f"{self.place}: {len(empty)} of {len(self.wnids)} classes have no images in {where}, such as "
                f"{empty[0]}: {AGAIN}, or take them out of wnids.txt"
            )
        return [(name, i) for i, wnid in enumerate(self.wnids) for name in sorted(found[wnid])]

    def fingerprint(self, part: str) -> str:
        """Return a hash of the list of files of that part, with their sizes and their checksums or times."""
        files = [(name, *self.files.stamps[name]) for name, _ in self.images(part)]
        return hashlib.sha256(repr(files).encode()).hexdigest()[:FINGERPRINT]

    def _images_below(self, folder: str) -> list[tuple[str, ...]]:
        """Return the paths of the images below, as tuples of parts; hidden files are skipped."""
        paths = (PurePosixPath(name) for name in self.files.stamps if name.startswith(f"{folder}/"))
        return [path.parts for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]

    def _train(self) -> dict[str, list[str]]:
        found = self._by_folder("train", self._images_below("train"))
        check_owners({wnid: [name.rpartition("/")[2] for name in names] for wnid, names in found.items()})
        return found

    def _by_folder(self, folder: str, paths: list[tuple[str, ...]]) -> dict[str, list[str]]:
        found = defaultdict(list)
        for parts in paths:
            found[parts[1]].append("/".join(parts))
        if unknown := sorted(set(found) - set(self.wnids)):
            raise ValueError(
                f"{self.place}: {folder} has a folder {unknown[0]}, no class of wnids.txt: {AGAIN}, or delete it"
            )
        return found

    def _val(self) -> dict[str, list[str]]:
        """Return the images by annotated class. Folders of classes, if any, must agree with the annotations."""
        paths = self._images_below("val")
        sorted_by_class = all(parts[1] != "images" for parts in paths)
        if ANNOTATIONS not in self.files.stamps:
            if not sorted_by_class or not paths:
                raise ValueError(
                    f"{self.place} has no {ANNOTATIONS}, so nothing tells the labels of val/images: {AGAIN}"
                )
            return self._by_folder("val", paths)
        labels, there = self._annotations(), {parts[-1]: parts for parts in paths}
        self._check_names(set(labels), set(there))
        found = defaultdict(list)
        for name, wnid in labels.items():
            found[wnid].append("/".join(there[name]))
        if sorted_by_class and {w: set(f) for w, f in found.items()} != {
            w: set(f) for w, f in self._by_folder("val", paths).items()
        }:
            raise ValueError(
                f"{self.place}: the labels look shuffled: the images of val are in folders of other classes than "
                f"{ANNOTATIONS} says: {AGAIN}"
            )
        return found

    def _annotations(self) -> dict[str, str]:
        """Return {name of an image: its wnid}, the first two columns of each line."""
        labels: dict[str, str] = {}
        for number, line in enumerate(self._text(ANNOTATIONS).splitlines(), 1):
            name, _, rest = line.partition("\t")
            wnid = rest.split("\t")[0].strip()
            if wnid not in self.wnids:
                raise ValueError(
                    f"{self.place}: line {number} of {ANNOTATIONS} has the class {wnid!r}, which is not in "
                    f"wnids.txt: {AGAIN}"
                )
            if labels.setdefault(name, wnid) != wnid:
                raise ValueError(f"{self.place}: {ANNOTATIONS} gives {name} two classes: {AGAIN}")
        return labels

    def _check_names(self, annotated: set[str], there: set[str]) -> None:
        for some, problem in (
            (annotated - there, "are named in {0} but are not there"),
            (there - annotated, "have no line in {0}, so no label"),
        ):
            if some:
                raise ValueError(
                    f"{self.place}: {len(some)} images of val {problem.format(ANNOTATIONS)}, such as {min(some)}: "
                    f"{AGAIN}, or delete what is too much"
                )
