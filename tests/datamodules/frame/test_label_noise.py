"""Planted label noise: exact counts, no own class, even draws, the confused classes, and which parts have it."""

import pytest
import torch

from datamodules import CIFAR10, Arrays, Digits, FashionMNIST
from datamodules.frame.label_noise import others_of, plant

LABELS = torch.arange(1797) % 10


def planted(rate, kind="symmetric", seed=0, classes=CIFAR10.classes, confusions=CIFAR10.confusions):
    others = None if kind == "symmetric" else others_of(classes, confusions, kind)
    return plant(LABELS, rate, others, 10, seed)


@pytest.mark.parametrize("rate", [0.2, 0.45, 0.8])
@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_exactly_so_many_are_wrong(rate, kind):
    assert (planted(rate, kind, seed=3) != LABELS).sum() == int(rate * 1797)


def test_symmetric_noise_is_even_over_the_other_classes():
    labels = torch.arange(90_000) % 10
    noisy = plant(labels, 0.5, None, 10, 1)
    table = torch.bincount(labels * 10 + noisy, minlength=100).view(10, 10).float()
    assert (table.diag() - 4500).abs().max() < 5 * (9000 * 0.25) ** 0.5
    off = table[~torch.eye(10, dtype=torch.bool)]  # 500 expected in each
    assert off.sum() == 45_000 and ((off - 500) ** 2 / 500).sum() < 130  # chi-square of 80 or so degrees: 80 +- 13


def test_pairs_go_to_the_next_class():
    noisy = planted(0.3, "pair")
    moved = noisy != LABELS
    assert torch.equal(noisy[moved], (LABELS[moved] + 1) % 10)


def test_cifars_classes_are_confused_as_patrini_has_it():
    noisy = planted(0.4, "asymmetric")
    names, moved = CIFAR10.classes, noisy != LABELS
    pairs = {(names[a], names[b]) for a, b in zip(LABELS[moved].tolist(), noisy[moved].tolist(), strict=True)}
    assert pairs == {
        ("truck", "automobile"), ("bird", "airplane"), ("deer", "horse"), ("cat", "dog"), ("dog", "cat")
    }  # fmt: skip
    confused = torch.isin(LABELS, torch.tensor([names.index(a) for a, _ in pairs]))
    assert moved.sum() == int(0.4 * confused.sum()) and confused.float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_clothes_that_are_confused():
    others = others_of(FashionMNIST.classes, FashionMNIST.confusions, "asymmetric").tolist()
    assert others == [0, 1, 6, 4, 3, 5, 6, 5, 8, 7]  # by number, as the data's authors list them


def test_a_larger_share_has_the_wrong_labels_of_a_smaller_one_and_seeds_differ():
    few, many, again = planted(0.1), planted(0.6), planted(0.1)
    moved = few != LABELS
    assert torch.equal(few, again) and torch.equal(few[moved], many[moved])
    assert not torch.equal(few, planted(0.1, seed=1)) and torch.equal(LABELS, torch.arange(1797) % 10)


def labels_of(loader):
    return torch.cat([targets for _, targets in loader])


def test_training_and_the_validation_that_is_split_off_have_it_and_test_is_clean():
    clean, noisy = (Digits(32, label_noise=rate) for rate in (0.0, 0.4))
    for data in (clean, noisy):
        data.setup()
    assert torch.equal(clean.train_indices, noisy.train_indices) and torch.equal(clean.val_indices, noisy.val_indices)
    true, given = clean.train_set.targets, noisy.train_set.targets
    assert (true != given).sum() == int(0.4 * len(true)) > 0 and torch.equal(noisy.clean_targets, true)
    assert torch.equal(labels_of(noisy.val_dataloader()), given[noisy.val_indices])
    assert torch.equal(labels_of(noisy.test_dataloader()), labels_of(clean.test_dataloader()))
    images, targets = noisy.train_set.__getitems__([5, 7])
    assert torch.equal(targets, given[[5, 7]]) and torch.equal(images, clean.train_set.__getitems__([5, 7])[0])


def test_classes_are_balanced_by_the_labels_that_are_given():
    """True labels would tell the run which of the given ones are wrong."""
    data = Digits(32, label_noise=0.4, sampling="over")
    data.setup("fit")
    counts = labels_of(data.train_dataloader()).bincount(minlength=10)
    assert counts.float().std() < 1 and counts.sum() > len(data.train_indices)


def test_the_seed_of_the_run_does_not_change_it(monkeypatch):
    found = []
    for seed in ("0", "7"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        data = Digits(label_noise=0.3)
        data.setup("fit")
        found.append(data.train_set.targets)
    assert torch.equal(*found)


def test_refusals():
    with pytest.raises(ValueError, match="label_noise must be in"):
        Digits(label_noise=1.0)
    with pytest.raises(ValueError, match="did you mean 'symmetric'"):
        Digits(label_noise=0.1, noise_kind="symetric")
    with pytest.raises(ValueError, match="names no classes that are taken for each other"):
        Digits(label_noise=0.1, noise_kind="asymmetric").setup("fit")
    pictures, labels = torch.zeros(40, 8, 8, 3, dtype=torch.uint8), torch.eye(4).repeat(10, 1)
    several = Arrays(pictures, labels, label_noise=0.1)
    with pytest.raises(ValueError, match="needs one label an image"):
        several.setup("fit")
