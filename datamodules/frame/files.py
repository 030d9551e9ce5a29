"""Data sets of encoded files: decoded anew each epoch, and bytes until they are where the network is."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.frame.check import readable
from datamodules.frame.decode import Unreadable, decode, usable_cores
from datamodules.frame.image_data import ImageData
from datamodules.frame.order import seeded
from datamodules.frame.source import Chosen
from datamodules.frame.source import Paths as Paths
from datamodules.frame.source import Source as Source
from datamodules.transforms import evaluation_transform, train_transform


class FileSet(Dataset):
    """Encoded images and their targets; gives whole batches.

    Args:
        source: n encoded images.
        targets: (n,) int64.
        train: uint8 (3, H, W) -> uint8 (3, S, S), any H, W. What it draws from torch's CPU generator depends on the key
            of the epoch and the index of the image alone; the generator is afterwards what it was.
        evaluate: the same without augmentation, for `plain()`; or one that gives V views (V, 3, S, S).
    """

    def __init__(self, source: Source, targets: Tensor, train: Callable, evaluate: Callable):
        self.source, self.targets, self.train, self.evaluate = source, targets, train, evaluate

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, items: list[tuple[int, int]] | list[int]) -> list[Tensor]:
        """(key, index) pairs, as `Order` gives them -> [uint8 (N, 3, S, S) or (N, V, 3, S, S), int64 (N,)].

        Plain indices get key 0: `Trainer(overfit_batches=...)` puts in a sampler that gives nothing else.
        """
        pairs = [(0, item) if isinstance(item, int) else item for item in items]
        batch = None
        with seeded() as seed:
            for n, (key, index) in enumerate(pairs):
                picture = self.picture(index)
                seed(key, index)
                image = self._transformed(picture, index)
                del picture  # so that the next one is decoded into memory that the processor's cache still holds
                if batch is None:  # one block that each image is written into, in channels_last order
                    *views, channels, height, width = image.shape
                    block = torch.empty(len(pairs), *views, height, width, channels, dtype=torch.uint8)
                    batch = block.movedim(-1, -3)
                batch[n] = image
        return [batch, self.targets[[index for _, index in pairs]]]

    def picture(self, index: int) -> Tensor:
        """One image as it is in its file, uint8 (3, H, W)."""
        try:
            return decode(self.source.read(index), self.source.name(index))
        except Unreadable as error:
            raise Unreadable(f"{error}, or leave out all such images with skip_unreadable=True") from error

    def _transformed(self, picture: Tensor, index: int) -> Tensor:
        try:
            return self.train(picture)
        except Exception as error:
            error.add_note(f"in the transform of {self.source.name(index)}, uint8 {tuple(picture.shape)}")
            raise

    def plain(self) -> "FileSet":
        """The same images, not augmented."""
        return FileSet(self.source, self.targets, self.evaluate, self.evaluate)


class FileData(ImageData):
    """Abstract. A subclass has `classes` and `root`, and names its encoded images in `source`.

    Nothing is kept in memory but the names: each epoch decodes the files anew, in the worker processes.

    Args:
        batch_size: images a batch and process.
        image_size: side S of what the network sees, in pixels.
        transform: of a training image: a name of `datamodules.transforms` ("inception" is the random resized crop with
            a flip), a callable of uint8 (3, H, W) to uint8 (3, S, S) (any transform of torchvision's v2), or a list of
            these. The draws are each image's own, from torch's CPU generator only.
        evaluation: the same for validation and test: "center", "10-crop", "multi-scale" or a callable.
        skip_unreadable: leave out images that cannot be read or are damaged, with a warning that counts and names them.
            For that, all are decoded once, before the first training; the result is kept in `root`, in a file
            `.unreadable-<part>.json`. Otherwise the first such image ends the run with an error that names it.
        mean, std: of the three colours, in units of the range [0, 1]; ImageNet's by default.
        num_workers: processes that decode; None for a worker a core that this process may use (under DDP its share).
        options: `val_split`, `split_seed` and more, as in `ImageData`.
    """

    mean = (0.485, 0.456, 0.406)  # of ImageNet, as torchvision has them
    std = (0.229, 0.224, 0.225)
    root: Path

    def __init__(
        self,
        batch_size: int = 64,
        *,
        image_size: int = 224,
        transform: str | Callable | list = "inception",
        evaluation: str | Callable | list = "center",
        skip_unreadable: bool = False,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        num_workers: int | None = None,
        **options,
    ):
        super().__init__(batch_size, num_workers=usable_cores() if num_workers is None else num_workers, **options)
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1 pixel, got {image_size}")
        if (mean is None) != (std is None):
            raise ValueError("mean and std belong together: give both, or neither for ImageNet's")
        if mean is not None:
            self.mean, self.std = tuple(mean), tuple(std)
        self.image_size, self.skip_unreadable = image_size, skip_unreadable
        self.transform, self.evaluation = transform, evaluation
        train_transform(transform, image_size), evaluation_transform(evaluation, image_size)  # a wrong name is told now
        self._share_cores = num_workers is None
        self._checked: dict[str, tuple[Source, Tensor]] = {}

    def source(self, part: str) -> tuple[Source, Tensor] | None:
        """Encoded images and int64 (n,) of "train", "val" or "test"; None if the data set has no such part."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Checks the images, once a machine, if unreadable ones are to be left out. A subclass calls this last."""
        if self.skip_unreadable:
            testing = self.trainer is not None and self.trainer.state.fn == "test"
            for part in ("test",) if testing else ("train", "val"):
                self._readable(part)

    def setup(self, stage: str | None = None) -> None:
        # Lightning advises workers wherever it sees few: here it is a worker a core, or somebody's own choice.
        warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
        if self._share_cores and self.trainer is not None:
            self.num_workers = max(1, usable_cores() // self.trainer.num_devices)
        super().setup(stage)

    def image_set(self, part: str) -> FileSet | None:
        found = self._readable(part)
        if found is None:
            return None
        evaluate = evaluation_transform(self.evaluation, self.image_size)
        train = train_transform(self.transform, self.image_size) if part == "train" else evaluate
        return FileSet(*found, train, evaluate)

    def _readable(self, part: str) -> tuple[Source, Tensor] | None:
        if part in self._checked:
            return self._checked[part]
        found = self.source(part)
        if found is not None and self.skip_unreadable:
            source, targets = found
            good = readable(source, self.root / f".unreadable-{part}.json")
            found = self._checked[part] = Chosen(source, good), targets[good]
        return found
