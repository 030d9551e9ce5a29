"""The validation split, folds and shares: in proportion, disjoint, repeatable, and refused when it makes no sense."""

import pytest
import torch

from datamodules import Digits
from datamodules.frame.split import fold_split, stratified_fraction, stratified_split, validation_count


@pytest.mark.parametrize("count", [0, 1, 7, 50, 99, 100])
def test_parts_are_disjoint_and_complete(count):
    targets = torch.randint(0, 4, (100,), generator=torch.Generator().manual_seed(0))
    rest, chosen = stratified_split(targets, count, seed=0)
    assert len(chosen) == count
    assert torch.equal(torch.cat([rest, chosen]).sort().values, torch.arange(100))


def test_equal_classes_give_equally():
    _, chosen = stratified_split(torch.arange(10).repeat(50), 50, seed=3)
    assert (chosen % 10).bincount().tolist() == [5] * 10


@pytest.mark.parametrize(("count", "share"), [(20, [2, 6, 12]), (1, [0, 0, 1]), (2, [0, 1, 1]), (4, [0, 1, 3])])
def test_unequal_classes_give_in_proportion(count, share):
    targets = torch.arange(3).repeat_interleave(torch.tensor([10, 30, 60]))
    _, chosen = stratified_split(targets, count, seed=0)
    assert targets[chosen].bincount(minlength=3).tolist() == share


def test_every_image_is_chosen_equally_often():
    targets = torch.arange(2).repeat(10)
    times = sum(stratified_split(targets, 4, seed)[1].bincount(minlength=20) for seed in range(1000))
    assert (times - 200).abs().max() < 4 * (1000 * 0.2 * 0.8) ** 0.5


def test_same_seed_same_split():
    targets = torch.arange(10).repeat(50)
    one, two, other = (stratified_split(targets, 50, seed)[1] for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_classes_without_images_are_no_obstacle():
    rest, chosen = stratified_split(torch.tensor([0, 0, 5, 5]), 2, seed=0)
    assert len(rest) == len(chosen) == 2


@pytest.mark.parametrize(("val_split", "count"), [(0, 0), (0.0, 0), (0.1, 100), (0.9999, 1000), (1, 1), (999, 999)])
def test_fractions_and_counts(val_split, count):
    if count == 1000:
        with pytest.raises(ValueError, match="takes 1000 of 1000"):
            validation_count(val_split, 1000)
    else:
        assert validation_count(val_split, 1000) == count


def test_a_fraction_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"val_split=0.001 takes 0 of 10 training images"):
        validation_count(0.001, 10)


@pytest.mark.parametrize("val_split", [-1, -0.1, 1.0, 1.5])
def test_wrong_val_split(val_split):
    with pytest.raises(ValueError, match=r"val_split must be a fraction in \[0, 1\) or a count of images, got"):
        Digits(val_split=val_split)


def test_all_images_for_validation_are_refused():
    with pytest.raises(ValueError, match="val_split=5000 takes 5000 of 1437 training images"):
        Digits(val_split=5000).setup("fit")


UNEQUAL = torch.arange(4).repeat_interleave(torch.tensor([7, 40, 3, 61]))  # 111 images


@pytest.mark.parametrize("folds", [2, 5, 10, 111])
def test_folds_are_disjoint_complete_and_stratified(folds):
    parts = []
    for fold in range(folds):
        rest, mine = fold_split(UNEQUAL, fold, folds, seed=3)
        assert torch.equal(torch.cat([rest, mine]).sort().values, torch.arange(111))
        assert torch.equal(rest, rest.sort().values) and torch.equal(mine, mine.sort().values)
        parts.append(mine)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(111))
    shares = torch.stack([UNEQUAL[part].bincount(minlength=4) for part in parts])
    assert (shares.amax(0) - shares.amin(0)).max() <= 1
    assert shares.sum(1).max() - shares.sum(1).min() <= 1


def test_folds_are_by_seed_and_by_lot():
    one, again, other = (fold_split(UNEQUAL, 1, 5, seed)[1] for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    times = sum(fold_split(UNEQUAL, 0, 5, seed)[1].bincount(minlength=111) for seed in range(1000))
    expected = torch.tensor([2 / 7, 1 / 5, 0, 0]).repeat_interleave(torch.tensor([7, 40, 3, 61])) * 1000
    large = UNEQUAL == 1  # 8 of 40 in every fold
    assert (times - expected)[large].abs().max() < 4.5 * (1000 * 0.2 * 0.8) ** 0.5


def test_folds_of_a_data_module():
    parts = []
    for fold in range(3):
        data = Digits(fold=fold, folds=3)
        data.setup("fit")
        assert len(data.train_indices) + len(data.val_indices) == 1437
        parts.append(data.val_indices)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(1437))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 2}, "fold=2, folds=None: give both"),
        ({"folds": 2}, "fold=None, folds=2: give both"),
        ({"fold": 5, "folds": 5}, r"fold must be in \[0, folds\) and folds at least 2, got fold=5, folds=5"),
        ({"fold": -1, "folds": 5}, "fold must be in"),
        ({"fold": 0, "folds": 1}, "folds at least 2"),
        ({"fold": 0, "folds": 5, "val_split": 0.1}, "fold=0 is the validation set: leave out val_split=0.1"),
        ({"fold": 0, "folds": 5, "val_split": 0}, "leave out val_split=0, or fold"),
        ({"fold": 0, "folds": 2000}, "folds=2000 is more than the 1437 training images"),
        ({"fraction": 0.0}, r"fraction must be in \(0, 1\], got 0.0"),
        ({"fraction": 1.1}, "fraction must be in"),
        ({"fraction": 0.002}, "fraction=0.002 leaves no image of 0, .*: choose a larger one"),
    ],
)
def test_wrong_folds_and_fractions(options, message):
    with pytest.raises(ValueError, match=message):
        Digits(**options).setup("fit")


def test_a_fraction_is_stratified_and_in_every_larger_one():
    classes = ("a", "b", "c", "d")
    smaller = torch.tensor([])
    for fraction in (0.2, 0.5, 0.9, 1.0):
        chosen = stratified_fraction(UNEQUAL, fraction, 0, classes)
        assert len(chosen) == round(111 * fraction)
        counts = UNEQUAL[chosen].bincount(minlength=4)
        assert (counts - fraction * UNEQUAL.bincount()).abs().max() < 1
        assert set(smaller.tolist()) <= set(chosen.tolist())
        smaller = chosen
    assert not torch.equal(stratified_fraction(UNEQUAL, 0.5, 0, classes), stratified_fraction(UNEQUAL, 0.5, 1, classes))


def test_a_fraction_is_of_the_training_images_and_leaves_validation_alone():
    whole, half = Digits(), Digits(fraction=0.5)
    for data in (whole, half):
        data.setup("fit")
    assert torch.equal(whole.val_indices, half.val_indices)
    assert len(half.train_indices) == round(len(whole.train_indices) / 2)
    assert set(half.train_indices.tolist()) <= set(whole.train_indices.tolist())
    loader = half.train_dataloader()
    assert {index for _, index in loader.sampler} == set(half.train_indices.tolist())


def test_a_refused_split_is_refused_again():
    data = Digits(fold=0, folds=2000)
    for _ in range(2):
        with pytest.raises(ValueError, match="is more than the"):
            data.setup("fit")


def test_images_held_out_come_from_training_and_go_back():
    data = Digits(val_split=137)
    data.setup("fit")
    whole, counts = data.train_indices, data.class_counts
    for _ in range(2):  # the same at each call
        data.hold_out(0.2)
        assert len(data.held_indices) == 260 and len(data.train_indices) == 1040  # of 1,300
        assert torch.equal(torch.cat([data.train_indices, data.held_indices]).sort().values, whole)
        assert not {*data.held_indices.tolist()} & {*data.val_indices.tolist()}
        assert (data.class_counts / counts).sub(0.8).abs().max() < 0.01
        images, targets = next(iter(data.held_dataloader()))
        chosen = data.held_indices[: len(targets)]
        assert torch.equal(targets, data.train_set.targets[chosen])
        assert torch.equal(images, data.train_set.without_augmentation().__getitems__(chosen.tolist())[0])
    data.hold_out(0)
    assert torch.equal(data.train_indices, whole) and len(data.held_indices) == 0
