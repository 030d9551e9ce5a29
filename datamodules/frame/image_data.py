"""Base class of all data modules: a batch is a list [images, targets], of bytes until it reaches the device."""

import os
import warnings
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any, Never, TypeVar

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.frame.by_class import ByClass
from datamodules.frame.image_set import Copies, Counted, DeviceImages, ImageSet
from datamodules.frame.label_noise import check_noise
from datamodules.frame.like import wanted_by
from datamodules.frame.loader import ResumableLoader
from datamodules.frame.normalisation import Normalised
from datamodules.frame.on_device import SHARE, DeviceLoader
from datamodules.frame.options import unknown_options, whole_signature
from datamodules.frame.order import Order
from datamodules.frame.parts import Parts
from datamodules.frame.show import draw, sheet
from datamodules.frame.split import check_per_class, check_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = TypeVar("Kind", bound=DataLoader[list[Tensor]])


class ImageData(Parts, Normalised):
    """Abstract. A subclass has `classes` and `image_size`, `mean` and `std`, and creates its sets in `image_set`.

    The loaders return [uint8 (N, C, H, W) in channels_last order, int64 (N,)]. On the network's device, Lightning calls
    `on_after_batch_transfer`, which converts the images to float32: (images / 255 - mean) / std.

    The seed of order and augmentation is that of `L.seed_everything`, else 0. It is read when a fit begins, and saved
    in checkpoints. A run that is stopped in mid-epoch resumes with the next batch. Training drops the images that do
    not fill a batch on each process, different ones in each epoch; evaluation sees each image once. `Trainer.predict`
    gets the test images, or the validation images if there are none.

    Args:
        batch_size: images a batch and process.
        val_split: validation images to take from the training images: a fraction in [0, 1) or a count, stratified by
            class. 0: train on all images, without validation; test images are never used instead. None: 0.1, or the
            data's own validation set.
        fold, folds: instead of `val_split`: validate on part `fold` (from 0) of `folds` equal parts, stratified by
            class.
        fraction: fraction of the remaining training images to use, in (0, 1], stratified by class; a larger one
            includes the images of a smaller one. The validation set does not change.
        split_seed: seed of all these choices. It is not the seed of the run, so that runs of several seeds share a
            split.
        sampling: for unbalanced classes, in training only. "over": repeat images, with different augmentation, until
            each class is as large as the largest. "under": use as many images of each class as the smallest has,
            different ones in each epoch. See `class_weights` for a weighted loss.
        repeats: repeated augmentation: an epoch of the same length uses 1 / `repeats` of the images, different ones in
            each epoch, each `repeats` times with different draws. Copies follow each other, so that several processes
            get different copies. DeiT has 3, for batches of a thousand images (https://arxiv.org/abs/1902.05509; as
            DeiT's sampler, https://github.com/facebookresearch/deit, except that it rounds the epoch to a multiple of
            256 images).
        per_class: K of P x K batches, for losses that compare images: each batch has K images of each of P =
            `batch_size` / K classes, as labelled in training; see `frame.by_class`. None: any images.
        label_noise: share of training labels to make wrong, in [0, 1), for the study of methods; of all training
            images, with the validation images that are taken from them. A validation set of the data's own and test
            images keep their labels. A larger share has the wrong labels of a smaller one; splits stay the same.
        noise_kind: "symmetric": any other class; "pair": the next class; "asymmetric": a class that it is taken for,
            as `confusions` of the data names them: the share is of the images of such classes.
        num_workers: processes that make batches; the batches are the same for any number.
        device_data: make batches on the network's device, of images that lie there, with the same draws: nothing is
            copied in a step. "auto": if the images are in memory without transforms of their own, the device is a CUDA
            one, and they fit in a quarter of its free memory. True: on any device. False: in this process's memory.
        like: a model whose weights define the preprocessing: take its mean and std, and from files also its size, crop
            and channels, unless they are given.

    Attributes:
        train_set, val_set, test_set: the data sets, after `setup`; None before.
        train_indices, val_indices: (n,) int64, used images of `train_set` and `val_set`, ascending.
        held_indices: (n,) int64, images of `train_set` removed by `hold_out`.
        clean_targets: (n,) int64, the targets of `train_set` before `label_noise`.
        seed: of order and augmentation.
        whitening: a fitted `transforms.Whitening`, applied instead of mean and std; None at first.

    Raises:
        ValueError: an argument out of range, or two contradictory arguments.
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
        per_class: int | None = None,
        label_noise: float = 0.0,
        noise_kind: str = "symmetric",
        num_workers: int = 0,
        like: Any = None,
        device_data: bool | str = "auto",
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
        check_per_class(per_class, batch_size, sampling, repeats)
        self.per_class = per_class
        check_noise(label_noise, noise_kind)
        self.label_noise, self.noise_kind = label_noise, noise_kind
        self.like = wanted_by(like)
        if device_data not in (True, False, "auto"):
            raise ValueError(f'device_data must be True, False or "auto", got {device_data!r}')
        self.device_data = device_data
        self._copies: Copies = {}
        self.seed = 0

    def setup(self, stage: str | None = None) -> None:
        """Create the sets of a stage: "fit", "validate", "test" or "predict"; None creates those of the first three."""
        if stage in ("fit", None):
            self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        super().setup(stage)

    # ---- loaders

    def held_dataloader(self) -> DataLoader[list[Tensor]]:
        """Return the loader of the held-out images, not augmented, in order; each process gets all of them."""
        return self._loader(
            DataLoader, self._training_set().without_augmentation(), Order(self.held_indices, shuffle=False)
        )

    def plain_dataloader(self) -> DataLoader[list[Tensor]]:
        """Return the loader of the training images, not augmented, in order, each once; every process gets all."""
        return self._loader(
            DataLoader, self._training_set().without_augmentation(), Order(self.train_indices, shuffle=False)
        )

    def train_dataloader(self) -> ResumableLoader:
        """Return the loader of the training images: augmented, shuffled, resumable in the middle of an epoch."""
        train_set, order = self._training_set(), self._training_order()
        if len(order) < self.batch_size and self.trainer is not None and not callbacks_of(self.trainer):
            self.batch_size = len(order)  # Lightning's BatchSizeFinder has run out of images, and empties the list
            train_set = Counted(train_set, len(order))
        if len(order) < self.batch_size:
            raise ValueError(f"batch_size={self.batch_size} is more than the {len(order)} training images: lower it")
        loader = self._loader(ResumableLoader, train_set, order)
        if self.trainer is not None:
            progress = self.trainer.fit_loop.epoch_loop.batch_progress
            loader.finished = lambda: progress.current.processed  # type: ignore[attr-defined]  # declared too narrowly
        return loader

    def _training_order(self) -> Order:
        if self.per_class is not None:
            return self._order_by_class(self.per_class)
        targets = self._training_set().labels[self.train_indices]
        return Order(
            self.train_indices,
            shuffle=True,
            seed=self.seed,
            repeats=self.repeats,
            sampling=self.sampling,
            targets=targets,
        )

    def _order_by_class(self, k: int) -> ByClass:
        targets = self._training_set().targets
        if targets.ndim > 1:
            raise ValueError(f"per_class needs one label an image, which {type(self).__name__} has not: leave it out")
        check_per_class(k, self.batch_size, self.sampling, self.repeats)  # batch_size may have changed
        return ByClass(self.train_indices, targets[self.train_indices], self.batch_size // k, k, seed=self.seed)

    def val_dataloader(self) -> DataLoader[list[Tensor]] | list[Any]:
        """Return the loader of the validation images, in order; an empty list if there are none."""
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

    def _loader(self, kind: type[Kind], images: ImageSet, order: Order) -> Kind | DeviceLoader:
        there = self._on_device(images)
        if there is None:
            return self._make_loader(kind, images, order)
        loader = self._make_loader(DeviceLoader, images, order)
        loader.images = there
        return loader

    def _on_device(self, images: ImageSet) -> DeviceImages | None:
        """Return the images on the network's device, if they are to be there."""
        if self.trainer is None or self.device_data is False:
            return None
        device, limit = self.trainer.strategy.root_device, inf
        if self.device_data == "auto":
            if device.type != "cuda" or self.num_workers > 0:
                return None
            limit = SHARE * torch.cuda.mem_get_info(device)[0]
        found = images.on_device(device, limit, self._copies)
        if found is None and self.device_data is True:
            raise ValueError(
                f"{type(self).__name__}: device_data=True needs images in memory, and no transform= of single images: "
                'leave it out, for "auto"'
            )
        return found

    def teardown(self, stage: str) -> None:
        """Free the images on the device."""
        super().teardown(stage)
        self._copies = {}

    def _make_loader(self, kind: type[Kind], images: ImageSet, order: Order) -> Kind:
        return kind(
            images,
            batch_size=self.batch_size,
            sampler=order,
            drop_last=order.shuffle,
            collate_fn=_identity,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # a loader draws a number at each start: not from the run's generator
        )

    def state_dict(self) -> dict[str, int]:
        """Return the state for a checkpoint: the seed of order and augmentation."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restore the seed of a checkpoint."""
        self.seed = state_dict["seed"]

    def show_batch(self, n: int = 16, batch: list[Tensor] | None = None) -> "Figure":
        """Draw the network's inputs: augmented images, with their classes.

        Args:
            n: largest number of images.
            batch: the batch, of bytes or normalised, with targets (N,) or (N, K) probabilities (mixup); None for the
                first images of the first training epoch. All views of an image are drawn.

        Returns:
            A `matplotlib.figure.Figure`, which a notebook shows and `savefig` writes; pyplot is not used.
        """
        if batch is None:
            if self.train_set is None:
                self.prepare_data()
                self.setup("fit")
            batch = self._training_set().__getitems__(list(islice(self._training_order(), n)))
            if self.scale is not None:
                batch = self.on_after_batch_transfer(batch, 0)
        images, targets = batch[0].detach().cpu(), batch[1].cpu()
        views = images.shape[1] if images.ndim == 5 else 1
        images, targets = images.flatten(0, -4)[:n], targets.repeat_interleave(views, 0)[:n]
        seen = 3 if images.shape[1] >= 3 else 1  # of more channels the first three
        return draw(self._as_bytes(images)[:, :seen], targets, self.classes)

    def _repr_html_(self) -> str:
        """Show the images and the counts of the classes in a notebook, once the data is set up; else say how to."""
        name = type(self).__name__
        if self.train_set is None:
            return f"<p><code>{name}</code> is not set up: <code>show_batch()</code> reads it and shows images</p>"
        counts = [(cls, int(count)) for cls, count in zip(self.classes, self.class_counts.tolist(), strict=False)]
        return sheet(f"{name}, {len(self.train_indices):,} training images", self.show_batch(), counts)


def _identity(batch: list[Tensor]) -> list[Tensor]:
    """Return the batch unchanged, because the data set makes whole batches. Workers can pickle this function."""
    return batch


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """Return a trainer's callbacks."""
    found: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by Lightning's connector
    return found
