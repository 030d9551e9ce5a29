"""Data in memory under a Trainer: precision, measured constants, Lightning's advice, and wrong images and labels."""

import os
import tracemalloc

import numpy as np
import pytest
import torch

from datamodules import Arrays, Digits, ImageData
from datamodules.frame.memory import MemoryData, convert_channels, measure


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
        (np.zeros((20, 8, 8, 3), np.float32), None, r"train: images must be uint8 \(n, S, S, C\), got float32"),
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
        ({"flip": "alternate"}, "flip must be True, False or 'alternating', got 'alternate'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        Given(**options).setup("fit")


def test_wrong_batch_size():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Digits(batch_size=0)


def mirrored_in(data, number):
    """Which of images 0, 1, ... come mirrored in an epoch: theirs are darker on the left."""
    loader, found = data.train_dataloader(), {}
    loader.sampler.set_epoch(number)
    for images, targets in loader:
        dark = images[:, 0, 0].float()  # the first row, no padding
        found |= dict(zip(targets.tolist(), (dark[:, 0] > dark[:, -1]).tolist(), strict=True))
    return [found[i] for i in range(len(found))]


class Numbered(Given):
    classes = tuple(map(str, range(200)))

    def __init__(self, **options):
        ramp = np.arange(8, dtype=np.uint8)[None, None, :, None] * np.ones((200, 8, 1, 3), np.uint8)
        super().__init__(ramp, torch.arange(200), padding=0, val_split=0, **options)


def test_two_epochs_show_every_image_both_ways():
    data = Numbered(flip="alternating")
    data.setup("fit")
    first, second, third = (mirrored_in(data, number) for number in range(3))
    assert [a != b for a, b in zip(first, second, strict=True)] == [True] * 200
    assert first == third and 70 < sum(first) < 130  # 4 standard deviations


def test_a_random_flip_is_drawn_anew():
    data = Numbered(flip=True)
    data.setup("fit")
    first, second = (mirrored_in(data, number) for number in range(2))
    assert 70 < sum(a != b for a, b in zip(first, second, strict=True)) < 130


class Noise:
    """Adds what it draws, counts its calls."""

    def __call__(self, image):
        assert image.dtype == torch.uint8 and image.shape == (3, 8, 8)
        return image + torch.randint(0, 100, (3, 1, 1), dtype=torch.uint8)


def epoch(data):
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def test_transform_comes_after_crop_and_flip_with_the_images_own_draws():
    plain, noisy = (epoch(Digits(transform=t)) for t in (None, Noise()))
    added = noisy[0] - plain[0]
    assert torch.equal(plain[1], noisy[1])
    assert torch.equal(added, added[:, :, :1, :1].expand_as(added))
    assert len(added[:, :, 0, 0].unique(dim=0)) > 120  # of 128
    small = epoch(Digits(batch_size=16, transform=Noise()))
    assert torch.equal(small[0], noisy[0][:16])
    assert noisy[0].is_contiguous(memory_format=torch.channels_last)


def test_transform_comes_before_the_hole():
    hole = epoch(Digits(cutout=3, transform=lambda image: image // 2 + 100))[0] == 0
    assert set(hole.sum((2, 3)).flatten().tolist()) <= {4, 6, 9}


def test_transform_does_not_touch_the_data_nor_evaluation():
    data = Digits(transform=lambda image: image.fill_(7))
    assert (epoch(data)[0] == 7).all()
    before = Digits()
    before.setup("fit")
    assert np.array_equal(data.train_set.images, before.train_set.images)
    assert torch.equal(next(iter(data.val_dataloader()))[0], next(iter(before.val_dataloader()))[0])


def test_transform_may_return_a_view():
    turned, plain = (epoch(Digits(transform=t))[0] for t in (lambda image: image.transpose(1, 2), None))
    assert torch.equal(turned, plain.transpose(2, 3))


@pytest.mark.parametrize(
    ("transform", "got"),
    [
        (lambda image: image.float(), r"got torch.float32 \(3, 8, 8\): conversion to float"),
        (lambda image: image[:, 1:], r"got torch.uint8 \(3, 7, 8\)"),
        (lambda image: image.numpy(), "got ndarray"),
    ],
)
def test_transform_gives_bytes_of_the_same_size(transform, got):
    with pytest.raises(ValueError, match=got):
        epoch(Digits(transform=transform))


def test_transforms_by_name():
    plain, named = epoch(Digits()), epoch(Digits(transform=["color-jitter", Noise()]))
    assert named[0].dtype == torch.uint8 and named[0].shape == plain[0].shape
    assert not torch.equal(named[0], plain[0]) and torch.equal(named[1], plain[1])
    with pytest.raises(ValueError, match="randaugment"):
        epoch(Digits(transform="randaugmnt"))


@pytest.mark.parametrize("options", [{"padding": 2}, {"padding": 0, "transform": Noise()}])
def test_images_of_one_batch_may_have_different_keys(options):
    data = Digits(**options)
    data.setup("fit")
    items = [(1, 5), (2, 5), (2, 6)]
    images, targets = data.train_set.__getitems__(items)
    for i, item in enumerate(items):
        alone = data.train_set.__getitems__([item])
        assert torch.equal(images[i], alone[0][0]) and targets[i] == alone[1][0]
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize("shape", [(50, 4, 4, 3), (70, 256, 256, 3), (2, 1300, 1300, 3)])
def test_measure(shape):
    """Of many small images, in pieces of several images, and in pieces of one."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images[..., 1] //= 2
    images[0, ..., 2] //= 2
    mean, std = measure(images)
    for channel in range(3):
        assert mean[channel] == pytest.approx(images[..., channel].mean() / 255)
        assert std[channel] == pytest.approx(images[..., channel].std() / 255)


def test_images_are_not_copied_whole_to_be_measured():
    images = np.zeros((100, 256, 256, 3), np.uint8)
    tracemalloc.start()
    measure(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_channel_becomes_zero(value):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    images[..., 2] = value
    data = Arrays(images, np.arange(12) % 2, batch_size=4, val_split=2)
    data.setup("fit")
    batch, _ = data.on_after_batch_transfer(list(next(iter(data.train_dataloader()))), 0)
    assert batch.isfinite().all() and batch[:, :2].std() > 0.5
    assert data.std[2] == 1 and batch[:, 2].abs().max() < 1e-6


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


def test_colours_become_grey_in_the_same_layout():
    images = np.random.default_rng(3).integers(0, 256, (4, 6, 6, 3), np.uint8)
    luma = convert_channels(images, 1)
    assert luma.shape == (4, 6, 6, 1)
    np.testing.assert_allclose(luma[..., 0], images @ [0.299, 0.587, 0.114], atol=1)
