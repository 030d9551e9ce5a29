"""The contract of all data modules: a batch is a list [images, targets], as bytes until it is where the network is."""

import os
import warnings
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Never, Protocol, TypeVar, runtime_checkable

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.frame.image_set import Counted, ImageSet
from datamodules.frame.like import wanted_by
from datamodules.frame.loader import ResumableLoader
from datamodules.frame.options import Colours, unknown_options, whole_signature
from datamodules.frame.order import Order
from datamodules.frame.sampling import class_weights
from datamodules.frame.show import draw
from datamodules.frame.split import (
    VAL_SPLIT,
    check_split,
    fold_split,
    stratified_fraction,
    stratified_split,
    validation_count,
)
from datamodules.frame.tensor import normalise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = TypeVar("Kind", bound=DataLoader[list[Tensor]])


class ImageData(L.LightningDataModule):
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

    classes: tuple[str, ...]
    image_size: int
    channels = 3
    mean: Colours | None = None
    std: Colours | None = None
    whitening: Callable[[Tensor], Tensor] | None = None
    train_indices: Tensor
    val_indices: Tensor
    held_indices: Tensor

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
        self.train_set: ImageSet | None = None
        self.val_set: ImageSet | None = None
        self.test_set: ImageSet | None = None
        self._prediction: tuple[ImageSet, Tensor] | None = None

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """How a picture of any size is prepared for evaluation, as plain values; None where that cannot be said so.

        Known once mean and std are: after `setup`.
        """
        return self.middle_square

    @property
    def middle_square(self) -> dict[str, Any] | None:
        """The preprocessing that cuts the middle square and resizes it to `image_size`."""
        if self.mean is None or self.std is None or self.whitening is not None:
            return None
        sides = {"size": self.image_size, "short_side": self.image_size, "interpolation": "bilinear", "views": "center"}
        return {**sides, "mean": list(self.mean), "std": list(self.std)}

    def image_set(self, part: str) -> ImageSet | None:
        """Return the set of "train" (augmented), "val" or "test"; None if the data has no such part."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Make the sets of a stage: "fit", "validate", "test" or "predict"; None makes those of the first three."""
        if stage in ("fit", None):
            self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        if stage in ("fit", "validate", None):
            self._load_training()
        if stage in ("test", None):
            self._load_test()
        if stage == "predict":
            self._prediction = self.prediction_set()

    def _load_training(self) -> ImageSet:
        if self.train_set is not None:
            return self.train_set
        train_set, val_set = self.image_set("train"), self.image_set("val")
        if train_set is None:
            raise RuntimeError(f"{type(self).__name__} has no training images")
        train, val = self._split(train_set.labels, val_set)
        if self.fraction < 1:
            train = train[stratified_fraction(train_set.labels[train], self.fraction, self.split_seed, self.classes)]
        self.train_indices, self.val_indices, self.held_indices = train, val, train[:0]
        self.train_set, self.val_set = train_set, train_set.without_augmentation() if val_set is None else val_set
        return train_set

    def _load_test(self) -> None:
        if self.test_set is None:
            self.test_set = self.image_set("test")

    def _split(self, targets: Tensor, val_set: ImageSet | None) -> tuple[Tensor, Tensor]:
        """Return indices to train on and to validate on."""
        if val_set is not None:  # the data comes with a validation set of its own
            if self.val_split or self.folds:
                raise ValueError(
                    f"{type(self).__name__} comes with a validation set: leave out val_split, fold and folds"
                )
            return torch.arange(len(targets)), torch.arange(len(val_set))
        if self.fold is not None and self.folds is not None:
            return fold_split(targets, self.fold, self.folds, self.split_seed)
        val_split = VAL_SPLIT if self.val_split is None else self.val_split
        return stratified_split(targets, validation_count(val_split, len(targets)), self.split_seed)

    def hold_out(self, fraction: float) -> None:
        """Take images out of training, every class in proportion, for a trick to look at: see `held_dataloader`.

        They are no validation images, whose labels no training should hear of. The same ones at each call.

        Args:
            fraction: of the images to train on, in [0, 1); 0 gives all of them back.
        """
        labels = self._training_set().labels
        whole = torch.cat([self.train_indices, self.held_indices]).sort().values
        rest, held = stratified_split(labels[whole], round(fraction * len(whole)), self.split_seed)
        self.train_indices, self.held_indices = whole[rest], whole[held]

    def held_dataloader(self) -> DataLoader[list[Tensor]]:
        """Return the loader of the images that are held out, not augmented, in order; all of them in each process."""
        return self._loader(
            DataLoader, self._training_set().without_augmentation(), Order(self.held_indices, shuffle=False)
        )

    @property
    def class_counts(self) -> Tensor:
        """(K,) int64: images (of masks: pixels) of each class to train on, before `sampling` and `repeats`."""
        targets = self._training_set().targets[self.train_indices]
        return targets.flatten().bincount(minlength=self.num_classes)

    def class_weights(self, kind: str = "balanced", beta: float = 0.9999) -> Tensor:
        """Return weights (K,) float32 for the loss of unbalanced classes, as in `nn.CrossEntropyLoss(weight=...)`.

        Args:
            kind: "balanced": n / (K n_k). "effective": (1 - beta) / (1 - beta^n_k), scaled to a sum of K (Cui et al.
                2019, https://arxiv.org/abs/1901.05555).
            beta: of "effective", in [0, 1); the paper tries .9, .99, .999 and .9999.

        Raises:
            ValueError: a class has no images, or `sampling` has made the classes equal already.
        """
        if self.sampling is not None:
            raise ValueError(
                f'sampling="{self.sampling}" has made the classes equal, weights would count twice: take one out'
            )
        return class_weights(self.class_counts, kind, beta, self.classes)

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

    def prediction_set(self) -> tuple[ImageSet, Tensor]:
        """Return the images for `Trainer.predict`, and their indices: the test images, else those of validation."""
        self._load_test()
        if self.test_set is not None:
            return self.test_set, torch.arange(len(self.test_set))
        self._load_training()
        if self.val_set is None or len(self.val_indices) == 0:
            raise RuntimeError(f"{type(self).__name__} has neither test nor validation images to predict")
        return self.val_set, self.val_indices

    def predict_dataloader(self) -> DataLoader[list[Tensor]]:
        """Return the loader of the images of `prediction_set`, in order."""
        images, indices = self.prediction_set() if self._prediction is None else self._prediction
        return self._loader(DataLoader, images, Order(indices, shuffle=False))

    def _training_set(self) -> ImageSet:
        if self.train_set is None:
            name = type(self).__name__
            raise RuntimeError(f"{name} is not set up: hand it to a Trainer, or call prepare_data() and setup() first")
        return self.train_set

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

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> list[Tensor]:
        """Make uint8 images float, normalised, in the precision of the trainer; float images stay as they are.

        With several views an image, (N, V, C, H, W), so do the results.
        """
        images, targets = batch
        if images.dtype != torch.uint8:
            return batch
        flat = images.flatten(0, -4)  # views
        flat = normalise(flat, *self._colours()) if self.whitening is None else self.whitening(flat)
        images = flat.unflatten(0, images.shape[:-3])
        if self.trainer is not None:  # Lightning has cast the batch already, when it was bytes
            images = self.trainer.precision_plugin.convert_input(images)
        return [images, targets]

    def _colours(self) -> tuple[Colours, Colours]:
        if self.mean is None or self.std is None:
            raise RuntimeError(f"{type(self).__name__} has no mean and std yet: call setup() first")
        return self.mean, self.std

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

    def _as_bytes(self, images: Tensor) -> Tensor:
        """Undo `on_after_batch_transfer`, as far as rounding lets it."""
        if not images.is_floating_point():
            return images
        if isinstance(self.whitening, Invertible):
            return self.whitening.undo(images)
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in self._colours())
        return ((images.float() * std + mean) * 255).round().clamp(0, 255).byte()


@runtime_checkable
class Invertible(Protocol):
    """A map of images that can be undone, such as `Whitening`."""

    def undo(self, images: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) of float images."""


def _identity(batch: list[Tensor]) -> list[Tensor]:
    """Return the batch: the data set gives whole ones. A function of the module because workers pickle it."""
    return batch


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """Return a trainer's callbacks."""
    found: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by Lightning's connector
    return found
