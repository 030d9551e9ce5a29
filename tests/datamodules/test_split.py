"""The validation split: in proportion, disjoint, repeatable, and refused when it makes no sense."""

import pytest
import torch

from datamodules import Digits
from datamodules._split import stratified_split, validation_count


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
