"""Data in memory under a Trainer: precision, measured constants, Lightning's advice, and wrong images and labels."""

import os

import numpy as np
import pytest
import torch

from datamodules import Digits, ImageData
from datamodules._memory import MemoryData, measure


class Given(MemoryData):
    """Whatever arrays a test has."""

    classes = ("a", "b")
    image_size = 8

    def __init__(self, images=None, targets=None, **options):
        super().__init__(4, **options)
        self.images = np.zeros((20, 8, 8, 3), np.uint8) if images is None else images
        self.targets = torch.arange(20) % 2 if targets is None else targets

    def read(self, part):
        return None if part == "val" else (self.images, self.targets)


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (np.zeros((20, 8, 8, 3), np.float32), None, r"train: images must be uint8 \(n, S, S, 3\), got float32"),
        (np.zeros((20, 8, 9, 3), np.uint8), None, r"images must be uint8 .* got uint8 \(20, 8, 9, 3\)"),
        (np.zeros((20, 3, 8, 8), np.uint8), None, r"images must be uint8 .* got uint8 \(20, 3, 8, 8\)"),
        (np.zeros((20, 8, 8), np.uint8), None, "images must be uint8"),
        (np.zeros((0, 8, 8, 3), np.uint8), torch.arange(0), "0 images"),
        (None, torch.arange(19) % 2, r"20 images, and torch.int64 \(19,\) targets"),
        (None, torch.zeros(20), r"torch.float32 \(20,\) targets, not int64"),
        (None, torch.arange(20) % 3, r"train: targets must be in \[0, 2\), got 0 to 2: check the labels"),
        (None, torch.arange(20) % 2 - 1, r"targets must be in \[0, 2\), got -1 to 0"),
    ],
)
def test_wrong_images_and_labels(images, targets, message):
    with pytest.raises(ValueError, match=message):
        Given(images, targets).setup("fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 8}, r"padding must be in \[0, 8\) pixels for images of side 8, got 8"),
        ({"cutout": 0}, "cutout must be a side of at least 1 pixel, got 0; None for no cutout"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std belong together"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        Given(**options).setup("fit")


def test_wrong_batch_size():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Digits(batch_size=0)


def test_measure():
    images = np.random.default_rng(0).integers(0, 256, (2500, 4, 4, 3), np.uint8)
    images[..., 1] //= 2
    mean, std = measure(images)
    assert mean == pytest.approx((images / 255).mean((0, 1, 2)).tolist())
    assert std == pytest.approx((images / 255).std((0, 1, 2)).tolist())


def test_measured_on_training_images_whatever_the_split_and_stage():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    constants = set()
    for stage, val_split in (("fit", 0), ("fit", 0.5), ("test", 0.5), ("validate", 0)):
        data = Given(images, val_split=val_split)
        data.setup(stage)
        constants.add((data.mean, data.std))
    assert constants == {measure(images)}


def test_given_constants_win():
    data = Digits(mean=[0.1, 0.2, 0.3], std=[1, 2, 3])
    data.setup("fit")
    assert (data.mean, data.std) == ((0.1, 0.2, 0.3), (1, 2, 3))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-true", torch.bfloat16), ("64-true", torch.float64)])
def test_images_in_the_precision_of_the_trainer(precision, dtype, linear, trainer):
    model, seen = linear(), []
    model.training_step = lambda batch, batch_idx: seen.append(batch[0].dtype) or model.loss(batch)
    trainer(max_steps=1, precision=precision, limit_val_batches=0).fit(model, Digits())
    assert seen == [dtype]


def test_overfits_one_unshuffled_batch(linear, trainer):
    model = linear()
    with pytest.warns(UserWarning, match="You requested to overfit"):
        trainer(max_epochs=2, overfit_batches=2).fit(model, Digits(batch_size=8))
    first, second = model.train_batches[:2], model.train_batches[2:]
    assert [b[2:] for b in first] == [b[2:] for b in second]


def test_lightning_does_not_advise_workers(linear, trainer, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    trainer(max_steps=1).fit(linear(), Digits())  # a warning would be an error


def test_restored_seed_changes_order_and_augmentation():
    one, two = Digits(), Digits()
    for data, seed in ((one, 0), (two, 7)):
        data.setup("fit")
        data.load_state_dict({"seed": seed})
    both = [next(iter(data.train_dataloader())) for data in (one, two)]
    assert not torch.equal(both[0][1], both[1][1])
    key = [next(iter(data.train_dataloader().sampler))[0] for data in (one, two)]
    assert key[0] != key[1]
    two.load_state_dict(one.state_dict())
    assert torch.equal(next(iter(two.train_dataloader()))[0], both[0][0])


def test_a_second_fit_reads_the_seed_anew(monkeypatch):
    data = Digits()
    for seed in (3, 4):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        data.setup("fit")
        assert data.seed == seed


def test_the_base_is_abstract():
    with pytest.raises(NotImplementedError):
        ImageData().setup("fit")
    with pytest.raises(NotImplementedError):
        MemoryData().setup("fit")
