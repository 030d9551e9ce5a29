"""Images of a data set on the Hugging Face Hub, by name; or of a local folder that its library `datasets` reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from datamodules.frame.files import FileData
from datamodules.frame.image_set import ImageSet
from datamodules.frame.options import FileOptions
from datamodules.frame.tree import NAMES


class Rows:
    """Encoded images in a column of a `datasets.Dataset`, which stays on the disk.

    Args:
        rows: the data set.
        column: of images that are not decoded: {"bytes": ..., "path": ...} each.
        title: of the data set, for messages.
    """

    def __init__(self, rows: Any, column: str, title: str):
        self.rows, self.column, self.title = rows, column, title

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, i: int) -> str:
        return f"{self.title}, image {i}"

    def read(self, i: int) -> bytes:
        """Return the file's content; nothing where the image is missing, which no decoder reads."""
        cell = self.rows[i][self.column] or {"bytes": b""}
        content: bytes = Path(cell["path"]).read_bytes() if cell["bytes"] is None else cell["bytes"]
        return content

    def size(self, i: int) -> int:
        return len(self.read(i))


class HuggingFace(FileData):
    """Images of a data set on the Hugging Face Hub: `HuggingFace("user/name", image="image", label="label")`.

    `pip install lightning-zoo[huggingface]` brings the library `datasets`, which downloads the data set once, when the
    module is made, and keeps it in its cache. The parts "train", "validation" and "test" are used, also by the other
    names that `ImageFolder` takes. `Trainer.predict` gets test images without labels (-1 or null). Images are decoded
    again in each epoch, as those of `ImageFolder`.

    Args:
        name: of the data set, "user/name"; or a local folder of Parquet files, or of another layout that
            `datasets.load_dataset` takes.
        batch_size: images a batch and process.
        config: the configuration, where the data set has several.
        image: the column of images.
        label: the column of classes: a `ClassLabel`, whose names are the class names, words, or whole numbers from 0.
        options: `image_size` (224), `transform`, `evaluation`, `val_split` and more, as in `FileData`.

    Raises:
        ModuleNotFoundError: `datasets` is not installed.
        ValueError: a column is missing or of another kind, no training images, or one without a class.
    """

    def __init__(
        self,
        name: str | Path,
        batch_size: int = 64,
        *,
        config: str | None = None,
        image: str = "image",
        label: str = "label",
        **options: Unpack[FileOptions],
    ):
        super().__init__(batch_size, **options)
        self.name, self.config, self.image, self.label = str(Path(name).expanduser()), config, image, label
        self.parts = parts_of(load(self.name, config), self.name)
        check_columns(self.parts["train"].features, self.name, image, label)
        labels = {part: rows.select_columns([label])[:][label] for part, rows in self.parts.items()}
        self.classes = names_of(self.parts["train"].features[label], labels)
        self.targets = {part: self._numbers(part, found) for part, found in labels.items()}
        self.root = next((Path(file["filename"]).parent for file in self.parts["train"].cache_files), Path())

    def _numbers(self, part: str, labels: list[Any]) -> Tensor:
        """Return classes, int64 (n,), -1 for none. Raise a ValueError for none outside of the test images."""
        words = {name: k for k, name in enumerate(self.classes)}
        numbers = [-1 if x is None else words[x] if isinstance(x, str) else x for x in labels]
        if part != "test" and min(numbers, default=0) < 0:
            missing = next(i for i, number in enumerate(numbers) if number < 0)
            raise ValueError(f"{self.name}, {part}: image {missing} has no class, its label is {labels[missing]}")
        return torch.tensor(numbers)

    @property
    def unlabelled(self) -> bool:
        """Whether there are test images without a class."""
        return "test" in self.targets and bool((self.targets["test"] < 0).any())

    def rows(self, part: str) -> Rows:
        """Return the encoded images of a part."""
        from datasets import Image

        encoded = self.parts[part].select_columns([self.image]).cast_column(self.image, Image(decode=False))
        return Rows(encoded, self.image, f"{self.name}, {part}")

    def source(self, part: str) -> tuple[Rows, Tensor] | None:
        """Return encoded images and int64 (n,) of a part; None if there is no such part, or if it has no classes."""
        if part not in self.parts or (part == "test" and self.unlabelled):
            return None
        return self.rows(part), self.targets[part]

    def prediction_set(self) -> tuple[ImageSet, Tensor]:
        """Return the test images without classes, with targets -1, and their indices; if none, as `ImageData`."""
        if not self.unlabelled:
            return super().prediction_set()
        rows = self.rows("test")
        return self.file_set(rows, torch.full((len(rows),), -1)), torch.arange(len(rows))

    def _no_test_images(self) -> str:
        if self.unlabelled:
            return f"test images of {self.name} have no class: predict them"
        return super()._no_test_images()


def load(name: str, config: str | None) -> Mapping[str, Any]:
    """Return all parts of a data set, {name: `datasets.Dataset`}.

    Raises:
        ModuleNotFoundError: `datasets` is not installed; says how to.
        ValueError: a configuration must be chosen; says which there are.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is not installed: pip install lightning-zoo[huggingface]") from None
    if config is None and len(configs := datasets.get_dataset_config_names(name)) > 1:
        raise ValueError(f"{name} has several configurations, choose one: config={' or '.join(map(repr, configs))}")
    found: Mapping[str, Any] = datasets.load_dataset(name, config)
    return found


def parts_of(found: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Return the parts under the names "train", "val" and "test".

    Raises:
        ValueError: no training images.
    """
    parts = {part: rows for part, names in NAMES.items() for word, rows in found.items() if word.lower() in names}
    if "train" not in parts:
        raise ValueError(f"{title} has no part of the name train: it has {', '.join(found)}")
    return parts


def check_columns(features: Mapping[str, Any], title: str, image: str, label: str) -> None:
    """Raise a ValueError that names all columns unless `image` holds images, and `label` one class each."""
    from datasets import ClassLabel, Image

    words = "; ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    if not isinstance(features.get(image), Image):
        raise ValueError(f"{title} has no column {image!r} of images: it has {words}; give image=")
    kind = features.get(label)
    if not isinstance(kind, ClassLabel) and _kind(kind).rstrip("0123456789") not in ("string", "int", "uint"):
        raise ValueError(f"{title} has no column {label!r} of one class an image: it has {words}; give label=")


def _kind(feature: Any) -> str:
    """Name the kind of a column: "Image", "ClassLabel", or what a plain value is, such as "int64" or "string"."""
    name = type(feature).__name__
    return str(feature.dtype) if name == "Value" else name


def names_of(feature: Any, labels: Mapping[str, list[Any]]) -> tuple[str, ...]:
    """Return the class names: those of the column, the words in order, or all numbers up to the largest."""
    if names := getattr(feature, "names", None):
        return tuple(names)
    found = {label for column in labels.values() for label in column if label is not None}
    if all(isinstance(label, str) for label in found):
        return tuple(sorted(found))
    return tuple(map(str, range(max(found) + 1)))
