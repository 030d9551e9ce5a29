"""Your own images, listed in a table with their labels and parts."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from datamodules.frame.choices import suggest
from datamodules.frame.files import FileData
from datamodules.frame.options import FileOptions
from datamodules.frame.source import Paths
from datamodules.frame.tree import NAMES

Row = dict[str, str]


class Table(FileData):
    """Images that a CSV or TSV file lists: `Table("photos.csv", image="path", label="label", split="split")`.

    One label an image: `label` names a column of class names. Several: `label` names K columns of 0 and 1, or a column
    of names with a `separator` between them; then targets are (N, K) of 0 and 1, a `zoo.Classifier` trains with K
    binary cross-entropies and logs `mAP` and `f1`, and tricks that need one label refuse.

    Args:
        root: the table; its first line names the columns.
        batch_size: images per batch and process.
        image: the column of paths, relative to the table's folder.
        label: the column of labels, or columns of 0 and 1.
        split: the column of "train", "val" or "test" (or "training", "valid", "validation", "testing"); None: all are
            training images, from which `val_split` takes the validation images.
        separator: between the labels of an image, such as "|"; None: one label.
        options: `image_size` (224), `transform`, `evaluation`, `val_split` and more, as in `FileData`.

    Raises:
        ValueError: a column or a file is missing, an image has no label, or a part is unknown.
    """

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 64,
        *,
        image: str = "path",
        label: str | Sequence[str] = "label",
        split: str | None = None,
        separator: str | None = None,
        **options: Unpack[FileOptions],
    ):
        super().__init__(batch_size, **options)
        self.table = Path(root).expanduser()
        self.root = self.table.parent
        self.image, self.label, self.split, self.separator = image, label, split, separator
        self.multi_label = separator is not None or not isinstance(label, str)
        rows = read_rows(self.table, [image, *([label] if isinstance(label, str) else label), *filter(None, [split])])
        self.parts: dict[str, list[tuple[Path, tuple[str, ...]]]] = {}
        for number, row in enumerate(rows, 2):
            self.parts.setdefault(self._part_of(row, number), []).append(self._entry(row, number))
        self.classes = tuple(label) if not isinstance(label, str) else self._names()
        self._check()

    def _part_of(self, row: Row, number: int) -> str:
        if self.split is None:
            return "train"
        word = row[self.split].strip().lower()
        part = next((part for part, names in NAMES.items() if word in names), None)
        if part is None:
            raise ValueError(f"{self.table}, line {number}: {self.split}={word!r}, not train, val or test")
        return part

    def _entry(self, row: Row, number: int) -> tuple[Path, tuple[str, ...]]:
        """Return an image and its labels."""
        if not isinstance(self.label, str):
            if wrong := [name for name in self.label if row[name].strip() not in ("0", "1")]:
                raise ValueError(f"{self.table}, line {number}: {wrong[0]}={row[wrong[0]]!r}, not 0 or 1")
            names = tuple(name for name in self.label if row[name].strip() == "1")
        else:
            words = [row[self.label]] if self.separator is None else row[self.label].split(self.separator)
            names = tuple(word.strip() for word in words if word.strip())
        if not names and not self.multi_label:
            raise ValueError(f"{self.table}, line {number}: {row[self.image]} has no {self.label}")
        return self.root / row[self.image], names

    def _names(self) -> tuple[str, ...]:
        return tuple(sorted({name for entries in self.parts.values() for _, names in entries for name in names}))

    def _check(self) -> None:
        paths = [path for entries in self.parts.values() for path, _ in entries]
        missing = [path for path in paths if not path.is_file()]
        twice = [path for path, count in Counter(paths).items() if count > 1]
        for some, problem in ((missing, "are not there"), (twice, "are listed twice")):
            if some:
                raise ValueError(f"{self.table}: {len(some):,} of {len(paths):,} images {problem}, such as {some[0]}")
        if "train" not in self.parts:
            raise ValueError(f"{self.table} has no training images: no row has {self.split}=train")

    def source(self, part: str) -> tuple[Paths, Tensor] | None:
        """Return files and targets of a part, int64 (n,) or float32 (n, K); None if there is no such part."""
        if part not in self.parts:
            return None
        paths, labels = zip(*self.parts[part], strict=True)
        numbers = {name: k for k, name in enumerate(self.classes)}
        if not self.multi_label:
            return Paths(paths), torch.tensor([numbers[names[0]] for names in labels])
        targets = torch.zeros(len(labels), len(self.classes))
        for i, names in enumerate(labels):
            targets[i, [numbers[name] for name in names]] = 1
        return Paths(paths), targets


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Read a table whose first line names the columns. Raise a ValueError for missing columns or an empty table."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", restval="")
        rows, found = list(reader), list(reader.fieldnames or ())
    for name in columns:
        if name not in found:
            raise ValueError(f"{path} has no column {name!r}: {suggest(name, found)}it has {', '.join(found)}")
    if not rows:
        raise ValueError(f"{path} lists no images")
    return rows
