"""Images resized once by `zoo prepare`: some three times faster to read than the original files."""

from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from datamodules.frame.chunks import ByChunk, Chunks, Store, is_remote
from datamodules.frame.files import FileData, FileSet, Source
from datamodules.frame.header import parse_header
from datamodules.frame.options import FileOptions
from datamodules.frame.order import Order
from datamodules.frame.pack import Packed, part_of_targets
from datamodules.frame.prepared_folder import read_header, verify, verify_once


class Prepared(FileData):
    """A data set resized by `zoo prepare`: in one file, or in litdata's chunks for an object store.

        zoo prepare ImageNet --root data --size 256     ->     Prepared("data/imagenet-256")

    It has the classes, the mean and the parts of the original. Its images are JPEGs encoded a second time (quality 90),
    with fewer pixels, so that small crops are more blurred than the original's. So report with a result that it was
    trained on prepared images.

    Chunks may be at an address, such as "s3://bucket/imagenet-256". Then an epoch has another order: only 8 chunks are
    read at a time, and each process has its own chunks, so that a machine downloads only its part of the data. Threads
    fetch the next 4 chunks of that order while the others are read.

    A folder is verified byte by byte before its first use on a machine; copies of chunks are verified on arrival.

    Args:
        root: the folder, or an address that litdata knows ("s3://", "gs://", "azure://", "r2://").
        batch_size: images a batch and process.
        cache: of an address, the folder for copies of chunks; None for `~/.cache/lightning-zoo`.
        cache_size: bytes of copies to keep, at least some 15 chunks of 64 MB.
        options: `image_size` (224), `transform`, `evaluation`, `mean`, `std`, `num_workers`, as in `FileData`;
            `val_split` (the original's) and more as in `ImageData`.

    Raises:
        ValueError: the folder was not made by `zoo prepare`, or is damaged.
    """

    def __init__(
        self,
        root: str | Path,
        batch_size: int = 64,
        *,
        cache: str | Path | None = None,
        cache_size: float = 100e9,
        **options: Unpack[FileOptions],
    ):
        self.store: Store | None = None
        if is_remote(root):
            self.store = Store(root, cache, cache_size)
            self.header = parse_header(self.store.path("header.json").read_text(), root)
            if options.get("skip_unreadable"):
                raise ValueError(
                    "skip_unreadable would fetch all images first: use `zoo prepare --skip-unreadable` instead"
                )
        else:
            self.header = read_header(Path(root).expanduser())
            if self.header["storage"] == "litdata":
                self.store = Store(root)
        if options.get("folds") is None and "val" not in self.header["parts"]:
            options.setdefault("val_split", self.header.get("val_split"))
        mean, std, own = self.header.get("mean"), self.header.get("std"), options.get("mean") or options.get("std")
        if mean is not None and std is not None and own is None and len(mean) == options.get("channels", 3):
            options["mean"], options["std"] = tuple(mean), tuple(std)
        super().__init__(batch_size, **options)
        self.root = Path(root).expanduser()
        self.classes = tuple(self.header["classes"])

    def verify(self) -> None:
        """Read the whole folder. Raise a ValueError that names the file in which a byte has changed."""
        if self.store is not None and self.store.remote:
            raise ValueError(f"{self.store.root} is not a local folder: its chunks are verified when they arrive")
        verify(self.root)

    def prepare_data(self) -> None:
        """Verify the folder before its first use on this machine."""
        if self.store is None or not self.store.remote:
            verify_once(self.root)
        super().prepare_data()

    def source(self, part: str) -> tuple[Source, Tensor] | None:
        """Return images and targets of a part."""
        if part not in self.header["parts"]:
            return None
        if self.store is None:
            packed = Packed(self.root, part)
            return packed, packed.targets
        first, end = self.header["parts"][part]
        targets = part_of_targets(self.store.path("targets.npy"), self.header, first, end)
        return Chunks(self.store, part), torch.from_numpy(targets)

    def _training_order(self) -> Order:
        order = super()._training_order()
        if self.store is None or not self.store.remote:
            return order
        if self.per_class is not None:
            raise ValueError("per_class takes images from everywhere, and this data is read in chunks: copy it here")
        images = self._training_set()
        assert isinstance(images, FileSet) and isinstance(images.source, Chunks)
        return ByChunk(
            order.indices,
            chunk_of=images.source.chunk_of,
            fetch=images.source.fetch,
            shuffle=True,
            seed=order.seed,
            repeats=order.repeats,
            sampling=order.sampling,
            targets=order.targets,
        )
