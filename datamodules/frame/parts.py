"""Parts of a data set: training, validation, test and prediction, and their class counts."""

from collections.abc import Mapping

import lightning as L
import torch
from torch import Tensor

from datamodules.frame.image_set import ImageSet
from datamodules.frame.label_noise import others_of, plant
from datamodules.frame.sampling import class_weights
from datamodules.frame.split import VAL_SPLIT, fold_split, stratified_fraction, stratified_split, validation_count


class Parts(L.LightningDataModule):
    """Abstract. The parts of a data set and their used images; arguments as in `ImageData`."""

    task = "classification"  # or "segmentation", "detection": what a target is
    classes: tuple[str, ...]
    multi_label = False  # True: targets are 0 and 1, (N, K)
    val_split: float | int | None
    fold: int | None
    folds: int | None
    fraction: float
    split_seed: int
    sampling: str | None
    label_noise: float
    noise_kind: str
    confusions: Mapping[str, str] = {}  # class -> the one that it is taken for, for asymmetric label noise
    clean_targets: Tensor
    train_indices: Tensor
    val_indices: Tensor
    held_indices: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.train_set: ImageSet | None = None
        self.val_set: ImageSet | None = None
        self.test_set: ImageSet | None = None
        self._prediction: tuple[ImageSet, Tensor] | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.classes)

    def image_set(self, part: str) -> ImageSet | None:
        """Return the set of "train" (augmented), "val" or "test"; None if the data has no such part."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Create the sets of a stage: "fit", "validate", "test" or "predict"; None creates those of the first three."""
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
        self.clean_targets = train_set.targets
        if self.label_noise:
            train_set.targets = train_set.labels = self._noisy(train_set.targets)
        self.train_set, self.val_set = train_set, train_set.without_augmentation() if val_set is None else val_set
        return train_set

    def _noisy(self, targets: Tensor) -> Tensor:
        """Return the training targets with `label_noise`. Raise a ValueError for masks and several labels an image."""
        if targets.ndim > 1:
            raise ValueError(f"label_noise needs one label an image, which {type(self).__name__} has not: leave it out")
        symmetric = self.noise_kind == "symmetric"
        others = None if symmetric else others_of(self.classes, self.confusions, self.noise_kind)
        return plant(targets, self.label_noise, others, self.num_classes, self.split_seed)

    def _load_test(self) -> None:
        if self.test_set is None:
            self.test_set = self.image_set("test")

    def _split(self, targets: Tensor, val_set: ImageSet | None) -> tuple[Tensor, Tensor]:
        """Return the indices of training and validation images."""
        if val_set is not None:  # the data has its own validation set
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
        """Remove images from training, stratified by class, for a trick to use: see `held_dataloader`.

        They are not validation images, because training must not see validation labels. Each call chooses the same
        ones.

        Args:
            fraction: of the training images, in [0, 1); 0 returns all of them to training.
        """
        labels = self._training_set().labels
        whole = torch.cat([self.train_indices, self.held_indices]).sort().values
        rest, held = stratified_split(labels[whole], round(fraction * len(whole)), self.split_seed)
        self.train_indices, self.held_indices = whole[rest], whole[held]

    @property
    def class_counts(self) -> Tensor:
        """Training images of each class, (K,) int64, before `sampling` and `repeats`; for masks, pixels."""
        targets = self._training_set().targets[self.train_indices]
        if self.multi_label:
            return targets.sum(0).long()
        return targets.flatten().bincount(minlength=self.num_classes)

    def class_weights(self, kind: str = "balanced", beta: float = 0.9999) -> Tensor:
        """Return weights (K,) float32 for a loss of unbalanced classes, as in `nn.CrossEntropyLoss(weight=...)`.

        Args:
            kind: "balanced": n / (K n_k). "effective": (1 - beta) / (1 - beta^n_k), scaled to a sum of K (Cui et al.
                2019, https://arxiv.org/abs/1901.05555).
            beta: of "effective", in [0, 1); the paper tries .9, .99, .999 and .9999.

        Raises:
            ValueError: a class has no images, or `sampling` already balances the classes.
        """
        if self.sampling is not None:
            raise ValueError(
                f'sampling="{self.sampling}" balances the classes already: leave out the sampling or the class weights'
            )
        return class_weights(self.class_counts, kind, beta, self.classes)

    def prediction_set(self) -> tuple[ImageSet, Tensor]:
        """Return the images for `Trainer.predict`, and their indices: the test images, else the validation images."""
        self._load_test()
        if self.test_set is not None:
            return self.test_set, torch.arange(len(self.test_set))
        self._load_training()
        if self.val_set is None or len(self.val_indices) == 0:
            raise RuntimeError(f"{type(self).__name__} has neither test nor validation images to predict")
        return self.val_set, self.val_indices

    def _training_set(self) -> ImageSet:
        if self.train_set is None:
            name = type(self).__name__
            raise RuntimeError(f"{name} is not set up: hand it to a Trainer, or call prepare_data() and setup() first")
        return self.train_set
