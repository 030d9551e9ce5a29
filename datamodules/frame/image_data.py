"""The contract of all data modules: a batch is a list [images, targets], as bytes until it is where the network is."""

import os
import warnings
from itertools import islice
from typing import TYPE_CHECKING, Any, Never, TypeVar

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.frame.image_set import Counted, ImageSet
from datamodules.frame.like import wanted_by
from datamodules.frame.loader import ResumableLoader
from datamodules.frame.normalised import Normalised
from datamodules.frame.options import unknown_options, whole_signature
from datamodules.frame.order import Order
from datamodules.frame.parts import Parts
from datamodules.frame.show import draw
from datamodules.frame.split import (
    check_split,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = TypeVar("Kind", bound=DataLoader[list[Tensor]])


class ImageData(Parts, Normalised):
    """Abstract. A subclass has `classes` and `image_size`, `mean` and `std`, and makes its sets in `image_set`.

    The loaders give [uint8 (N, C, H, W) in channels_last order, int64 (N,)]; `on_after_batch_transfer`, which Lightning
    calls on the network's device, makes of the images float32, (images / 255 - mean) / std.

    The seed of order and augmentation is that of `L.seed_everything` (else 0), read when a fit begins, saved in the
    checkpoint and restored from it. A run that is stopped in the middle of an epoch goes on with the very next batch.
    Training leaves out the images that do not fill a batch on each process, others each epoch; evaluation sees each
    image once. `Trainer.predict` gets the test images, or where there are none those of validation.

    Args:
        batch_size: images a batch and process.
        val_split: how many of the training images are for validation: a fraction in [0, 1) or a count; every class in
            proportion. 0 trains on all of them and there is no validation: the test images are never used instead.
            None: 0.1, or the validation set that the data comes with.
        fold, folds: instead of `val_split`: the validation set is number `fold` (from 0) of so many equal parts, every
            class in proportion.
        fraction: of the images left to train on, how many are used, in (0, 1], every class in proportion; a larger one
            has the images of a smaller one and more. The validation set stays as it is.
        split_seed: of all these choices. It is not the seed of the run, so that runs of several seeds share one split.
        sampling: of unbalanced classes, in training only: "over" makes the epoch longer, with as many images of each
            class as the largest has, the others' repeated, differently augmented; "under" makes it shorter, with as
            many as the smallest has, other ones each epoch. Or `class_weights` for a weighted loss.
        repeats: repeated augmentation: an epoch of the same length has 1 / `repeats` of the images, other ones each
            epoch, each so many times with other draws, one after the other, so on other processes where there are
            several. DeiT has 3, for batches of a thousand images (https://arxiv.org/abs/1902.05509; as DeiT's sampler,
            https://github.com/facebookresearch/deit, but that rounds the epoch down to whole 256 images).
        num_workers: processes that prepare batches; the batches are the same for any number.
        like: a model, whose weights say how images are prepared: its mean and std are taken, and from files its size,
            crop and channels too, unless they are given.

    Attributes:
        train_set, val_set, test_set: the data sets, after `setup`; None before.
        train_indices, val_indices: (n,) int64, the images of `train_set` and `val_set` that are used, ascending.
        held_indices: (n,) int64, those of `train_set` that `hold_out` has taken out.
        seed: of order and augmentation.
        whitening: a fitted `transforms.Whitening`, applied in place of mean and std; None at first.

    Raises:
        ValueError: an argument out of its range, or two that contradict each other.
        TypeError: an unknown option.
    """

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        if "__init__" in vars(cls):  # the command line and `help` show every option, not `**options`
            vars(cls)["__init__"].__signature__ = whole_signature(cls)

    def __init__(
        self,
        batch_size: int = 128,
        *,
        val_split: float | int | None = None,
        fold: int | None = None,
        folds: int | None = None,
        fraction: float = 1.0,
        split_seed: int = 0,
        sampling: str | None = None,
        repeats: int = 1,
        num_workers: int = 0,
        like: Any = None,
        **unknown: Never,
    ):
        super().__init__()
        if unknown:
            raise unknown_options(type(self), unknown)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        check_split(val_split, fold, folds, fraction, sampling, repeats)
        self.batch_size, self.num_workers = batch_size, num_workers
        self.val_split, self.fold, self.folds = val_split, fold, folds
        self.fraction, self.split_seed = fraction, split_seed
        self.sampling, self.repeats = sampling, repeats
        self.like = wanted_by(like)
        self.seed = 0

    def setup(self, stage: str | None = None) -> None:
        """Make the sets of a stage: "fit", "validate", "test" or "predict"; None makes those of the first three."""
        if stage in ("fit", None):
            self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        super().setup(stage)

    # ---- loaders

    def held_dataloader(self) -> DataLoader[list[Tensor]]:
        """Return the loader of the images that are held out, not augmented, in order; all of them in each process."""
        return self._loader(
            DataLoader, self._training_set().without_augmentation(), Order(self.held_indices, shuffle=False)
        )

    def train_dataloader(self) -> ResumableLoader:
        """Return the loader of the training images: augmented, shuffled, resumable in the middle of an epoch."""
        train_set, order = self._training_set(), self._training_order()
        if len(order) < self.batch_size and self.trainer is not None and not callbacks_of(self.trainer):
            self.batch_size = len(order)  # Lightning's BatchSizeFinder, which empties the list, has run out of images
            train_set = Counted(train_set, len(order))
        if len(order) < self.batch_size:
            raise ValueError(f"batch_size={self.batch_size} is more than the {len(order)} training images: lower it")
        loader = self._loader(ResumableLoader, train_set, order)
        if self.trainer is not None:
            progress = self.trainer.fit_loop.epoch_loop.batch_progress
            loader.finished = lambda: progress.current.processed  # type: ignore[attr-defined]  # declared too narrowly
        return loader

    def _training_order(self) -> Order:
        targets = self._training_set().labels[self.train_indices]
        return Order(
            self.train_indices,
            shuffle=True,
            seed=self.seed,
            repeats=self.repeats,
            sampling=self.sampling,
            targets=targets,
        )

    def val_dataloader(self) -> DataLoader[list[Tensor]] | list[Any]:
        """Return the loader of the validation images, in order; an empty list where there are none."""
        self._training_set()
        if self.val_set is None or len(self.val_indices) == 0:
            warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero")  # Lightning's; it is meant
            return []
        return self._loader(DataLoader, self.val_set, Order(self.val_indices, shuffle=False))

    def test_dataloader(self) -> DataLoader[list[Tensor]]:
        """Return the loader of the test images, in order. Raise a RuntimeError if there are none."""
        if self.test_set is None:
            raise RuntimeError(self._no_test_images())
        return self._loader(DataLoader, self.test_set, Order(torch.arange(len(self.test_set)), shuffle=False))

    def _no_test_images(self) -> str:
        name = type(self).__name__
        return f'{name} has no test images, or setup("test") was not called: validate, or call it first'

    def predict_dataloader(self) -> DataLoader[list[Tensor]]:
        """Return the loader of the images of `prediction_set`, in order."""
        images, indices = self.prediction_set() if self._prediction is None else self._prediction
        return self._loader(DataLoader, images, Order(indices, shuffle=False))

    def _loader(self, kind: type[Kind], images: ImageSet, order: Order) -> Kind:
        return kind(
            images,
            batch_size=self.batch_size,
            sampler=order,
            drop_last=order.shuffle,
            collate_fn=_identity,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # a loader takes a number of it at each start: not of the run's generator
        )

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint keeps: the seed of order and augmentation."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restore the seed of a checkpoint."""
        self.seed = state_dict["seed"]

    def show_batch(self, n: int = 16, batch: list[Tensor] | None = None) -> "Figure":
        """Draw what the network sees: augmented images, with their classes.

        Args:
            n: at most how many images.
            batch: one to draw, of bytes or normalised, with targets (N,) or (N, K) probabilities (mixup); None for the
                first images of the first training epoch. Of several views an image, all are drawn.

        Returns:
            A `matplotlib.figure.Figure`, which a notebook shows and `savefig` writes; pyplot is not touched.
        """
        if batch is None:
            if self.train_set is None:
                self.prepare_data()
                self.setup("fit")
            batch = self._training_set().__getitems__(list(islice(self._training_order(), n)))
        images, targets = batch[0].detach().cpu(), batch[1].detach().cpu()
        views = images.shape[1] if images.ndim == 5 else 1
        images, targets = images.flatten(0, -4)[:n], targets.repeat_interleave(views, 0)[:n]
        return draw(self._as_bytes(images), targets, self.classes)


def _identity(batch: list[Tensor]) -> list[Tensor]:
    """Return the batch: the data set gives whole ones. A function of the module because workers pickle it."""
    return batch


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """Return a trainer's callbacks."""
    found: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by Lightning's connector
    return found
