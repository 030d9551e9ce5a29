"""How often an image comes: repeated augmentation, over- and under-sampling, weights of classes."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import tensor

import datamodules
from datamodules import Digits
from datamodules.frame.memory import MemoryData
from datamodules.frame.order import Order, epoch_key, permutation
from datamodules.frame.sampling import balance, balanced_length, balanced_weights, class_weights, effective_weights
from tests.datamodules.frame import test_distributed
from tests.datamodules.frame.test_order import share

SIZES = tensor([3, 10, 0, 6])
TARGETS = torch.arange(4).repeat_interleave(SIZES)  # 19 images
KINDS = [{"sampling": "over"}, {"sampling": "under"}, {"repeats": 3}]


class Unequal(MemoryData):
    """120 training images, 60, 40 and 20 of each of three classes, all different; 30 for the test."""

    classes = ("a", "b", "c")
    image_size = 8

    def read(self, part):
        if part == "val":
            return None
        count = 120 if part == "train" else 30
        images = np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), np.uint8)
        return images, torch.arange(3).repeat_interleave(tensor([3, 2, 1]) * count // 6)


def unequal(**options):
    data = Unequal(**{"batch_size": 8, "val_split": 0.5, **options})
    data.setup()
    return data


def pairs(order, rank=0, world=1, epoch=0):
    order.rank, order.num_replicas = rank, world
    order.set_epoch(epoch)
    return list(order)


# ---- balanced classes


@pytest.mark.parametrize(("sampling", "size"), [("over", 10), ("under", 3)])
def test_equal_numbers_of_each_class(sampling, size):
    position, copy = balance(TARGETS, sampling, seed=0)
    assert TARGETS[position].bincount(minlength=4).tolist() == [size, size, 0, size]
    assert len(position) == len(copy) == balanced_length(TARGETS, sampling) == 3 * size
    assert len(set(zip(position.tolist(), copy.tolist(), strict=True))) == 3 * size  # no copy twice


def test_over_takes_each_image_equally_often_or_once_more():
    position, copy = balance(TARGETS, "over", seed=0)
    times = position.bincount(minlength=19)
    assert sorted(times[:3].tolist()) == [3, 3, 4]
    assert times[3:13].tolist() == [1] * 10
    assert sorted(times[13:].tolist()) == [1, 1, 2, 2, 2, 2]
    for image in range(19):
        assert copy[position == image].tolist() == list(range(times[image]))


def test_under_takes_each_image_once_at_most():
    position, copy = balance(TARGETS, "under", seed=0)
    assert len(set(position.tolist())) == 9 and not copy.any()
    assert set(range(3)) <= set(position.tolist())


def test_lots_are_fair_and_by_seed():
    under = sum(balance(TARGETS, "under", seed)[0].bincount(minlength=19) for seed in range(2000)) / 2000
    assert under[3:13] == pytest.approx([0.3] * 10, abs=4.5 * (0.3 * 0.7 / 2000) ** 0.5)
    over = sum(balance(TARGETS, "over", seed)[0].bincount(minlength=19) for seed in range(2000)) / 2000
    assert over[13:] == pytest.approx([10 / 6] * 6, abs=4.5 * (2 / 9 / 2000) ** 0.5)
    assert torch.equal(balance(TARGETS, "over", 5)[0], balance(TARGETS, "over", 5)[0])


def test_equal_classes_stay_as_they_are():
    for sampling in ("over", "under"):
        position, copy = balance(torch.arange(5).repeat(4), sampling, seed=0)
        assert torch.equal(position.sort().values, torch.arange(20)) and not copy.any()


@pytest.mark.parametrize(("sampling", "length"), [("over", 30), ("under", 9)])
def test_a_data_module_gives_equal_classes_in_another_order_each_epoch(sampling, length):
    data = unequal(sampling=sampling)
    assert data.class_counts.tolist() == [30, 20, 10]
    order = data.train_dataloader().sampler
    length = {"over": 90, "under": 30}[sampling]
    epochs = [[index for _, index in pairs(order, epoch=epoch)] for epoch in (0, 1)]
    for indices in epochs:
        assert len(indices) == len(order) == length
        assert data.train_set.targets[indices].bincount().tolist() == [length // 3] * 3
        assert set(indices) <= set(data.train_indices.tolist())
        halves = data.train_set.targets[indices[: length // 2]].bincount(minlength=3)
        assert halves.min() > length // 15  # mixed, not class after class
    assert epochs[0] != epochs[1]
    if sampling == "under":
        assert set(epochs[0]) != set(epochs[1])


def test_copies_are_augmented_differently():
    data = unequal(sampling="over")
    order = data.train_dataloader().sampler
    items = list(order)
    rare = next(index for _, index in items if data.train_set.targets[index] == 2)
    copies = [item for item in items if item[1] == rare]
    images = data.train_set.__getitems__(copies)[0]
    assert len(images) == 3 and len(images.unique(dim=0)) == 3
    assert (epoch_key(data.seed, 0), rare) in copies  # the first as without sampling


# ---- repeated augmentation


def deit(shuffled, repeats, rank, world, selected):
    """The rule of DeiT's RASampler, one image at a time, for a given order and length of the epoch."""
    repeated = [image for image in shuffled for _ in range(repeats)]
    while len(repeated) % world:
        repeated.append(repeated[len(repeated) - len(shuffled) * repeats])
    return repeated[rank::world][:selected]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("repeats", [2, 3, 5])
@pytest.mark.parametrize("count", [24, 25, 26])
def test_same_images_as_deit(count, repeats, world):
    order = Order(torch.arange(100, 100 + count), shuffle=True, seed=4, repeats=repeats)
    shuffled = (100 + permutation(count, epoch_key(4, 7))).tolist()
    for rank in range(world):
        assert share(order, rank, world, epoch=7) == deit(shuffled, repeats, rank, world, count // world)


def test_copies_are_spread_over_processes_and_have_draws_of_their_own():
    order = Order(torch.arange(30), shuffle=True, repeats=3)
    first = [pairs(order, rank, 3) for rank in range(3)]
    for copies in zip(*first, strict=True):
        assert len({index for _, index in copies}) == 1
        assert len({key for key, _ in copies}) == 3
    assert first[0][0][0] == epoch_key(0, 0)


def test_repeats_keep_the_length_and_come_to_all_images_in_time():
    order = Order(torch.arange(31), shuffle=True, repeats=3)
    seen = set()
    for epoch in range(40):
        indices = [index for _, index in pairs(order, epoch=epoch)]
        assert len(indices) == len(order) == 31 and len(set(indices)) == 11
        seen |= set(indices)
    assert seen == set(range(31))


def test_a_data_module_repeats_in_training():
    order = unequal(repeats=3).train_dataloader().sampler
    indices = [index for _, index in order]
    assert len(indices) == 60 and indices[::3] == indices[1::3] == indices[2::3] and len(set(indices)) == 20


def test_one_repeat_is_none():
    plain, one = Order(torch.arange(30), shuffle=True), Order(torch.arange(30), shuffle=True, repeats=1)
    assert pairs(plain) == pairs(one)
    assert [i for _, i in pairs(plain)] == permutation(30, epoch_key(0, 0)).tolist()


# ---- under any of them


@pytest.mark.parametrize("options", KINDS)
def test_processes_share_what_one_alone_would_see(options):
    order = Order(torch.arange(19), shuffle=True, targets=TARGETS, **options)
    alone = pairs(order, epoch=3)
    for world in (2, 3):
        shares = [pairs(order, rank, world, epoch=3) for rank in range(world)]
        assert {len(part) for part in shares} == {len(alone) // world} == {len(order)}
        dealt = [item for items in zip(*shares, strict=True) for item in items]
        assert dealt == alone[: len(dealt)]
        assert len(set(dealt)) == len(dealt)


@pytest.mark.parametrize(
    "name", [n for n in datamodules.__all__ if getattr(getattr(datamodules, n), "task", "detection") != "detection"]
)
@pytest.mark.parametrize("options", [{"fold": 1, "folds": 4, "val_split": None}, *KINDS])
def test_every_data_module(name, options, build):
    data = build(name, batch_size=8, **options)
    data.prepare_data()
    data.setup()
    train, val = set(data.train_indices.tolist()), data.val_indices.tolist()
    items = list(data.train_dataloader().sampler)
    assert {index for _, index in items} <= train and train.isdisjoint(val)
    assert [index for _, index in data.val_dataloader().sampler] == val
    one, two = items[0], (items[0][0] + 1, items[0][1])  # another repeat of the same image
    together = data.train_set.__getitems__([one, two])[0]
    for image, item in zip(together, (one, two), strict=True):
        assert torch.equal(image, data.train_set.__getitems__([item])[0][0])


@pytest.mark.parametrize("options", KINDS)
def test_evaluation_sees_each_image_once(options):
    data = unequal(**options)
    assert [index for _, index in data.val_dataloader().sampler] == data.val_indices.tolist()
    assert [index for _, index in data.test_dataloader().sampler] == list(range(30))
    assert not set(data.val_indices.tolist()) & {index for _, index in data.train_dataloader().sampler}


@pytest.mark.parametrize("options", KINDS)
def test_workers_and_batch_size_change_nothing(options):
    alone = torch.cat([images for images, _ in unequal(**options).train_dataloader()])
    with pytest.warns(UserWarning, match="num_workers=1"):
        helped = unequal(**options, num_workers=1)
    assert torch.equal(alone, torch.cat([images for images, _ in helped.train_dataloader()]))
    small = torch.cat([images for images, _ in unequal(**options, batch_size=4).train_dataloader()])
    assert torch.equal(alone, small[: len(alone)])


@pytest.mark.parametrize("options", KINDS)
def test_a_stopped_run_goes_on_with_the_next_batch(options, linear, trainer, save_at, tmp_path):
    path = tmp_path / "stopped.ckpt"
    straight, resumed = linear(classes=3), linear(classes=3)
    length = len(unequal(**options).train_dataloader())
    stop = save_at("on_train_batch_end", length + 2, path)
    trainer(max_epochs=3, callbacks=[stop]).fit(straight, unequal(**options))
    trainer(max_epochs=3).fit(resumed, unequal(**options), ckpt_path=path, weights_only=True)
    assert len(straight.train_batches) == 3 * length
    assert resumed.train_batches == straight.train_batches[length + 2 :]
    assert all(map(torch.equal, straight.parameters(), resumed.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize("options", KINDS[:1])
def test_two_real_processes_share_an_epoch_and_resume(options, tmp_path, monkeypatch):
    words = ", ".join(f"{name}={value!r}" for name, value in options.items())
    assert "padding=0)" in test_distributed.SCRIPT
    monkeypatch.setattr(
        test_distributed, "SCRIPT", test_distributed.SCRIPT.replace("padding=0)", f"padding=0, {words})")
    )
    both = test_distributed.fit(tmp_path / "whole")
    data = Digits(batch_size=8, val_split=1437 - 101, padding=0, **options)
    data.setup("fit")
    data.seed = 3
    order = data.train_dataloader().sampler
    batches = len(order) // 2 // 8
    for epoch in (0, 1):
        seen = [[tuple(row[1:]) for row in part["train"] if row[0] == epoch] for part in both]
        assert [len(part) for part in seen] == [8 * batches] * 2
        items = pairs(order, epoch=epoch)[: 16 * batches]
        images = data.on_after_batch_transfer(data.train_set.__getitems__(items), 0)[0]
        targets = data.train_set.targets[[index for _, index in items]].tolist()
        alone = list(zip(images.flatten(1).double().sum(1).tolist(), targets, strict=True))
        assert [row for rows in zip(*seen, strict=True) for row in rows] == alone
        assert sum(row[0] == epoch for part in both for row in part["val"]) == 1336
    resumed = test_distributed.fit(tmp_path / "resumed", ckpt=tmp_path / "whole" / "four.ckpt")
    for whole, rest in zip(both, resumed, strict=True):
        assert rest["train"] == whole["train"][4 * 8 :]


def test_a_batch_larger_than_the_epoch_is_refused():
    with pytest.raises(ValueError, match="batch_size=32 is more than the 30 training images"):
        unequal(sampling="under", batch_size=32).train_dataloader()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "smote"}, 'sampling must be "over", "under" or None, got \'smote\''),
        ({"repeats": 0}, "repeats must be a whole number of at least 1, got 0"),
        ({"repeats": 1.5}, "repeats must be a whole number of at least 1, got 1.5"),
        (
            {"repeats": 3, "sampling": "over"},
            'repeats=3 and sampling="over" both set how often an image is seen: leave',
        ),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        Digits(**options)


# ---- weights


def test_balanced_weights_are_scikit_learns():
    data = unequal()
    targets = data.train_set.targets[data.train_indices].numpy()
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    assert data.class_weights().tolist() == pytest.approx(theirs.tolist())
    assert data.class_weights().dtype == torch.float32


def test_effective_weights_by_hand():
    # beta = .5: 1 - beta^n = 1/2 and 3/4, weights 1 and 2/3, times 2 / (5/3)
    assert effective_weights(tensor([1, 2]), 0.5).tolist() == pytest.approx([1.2, 0.8])


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.999, 0.9999])
def test_effective_weights_are_those_of_the_authors_formula(beta):
    counts = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])  # long-tailed CIFAR-10, factor 100
    theirs = (1 - beta) / (1 - np.power(beta, counts))
    theirs = theirs / theirs.sum() * 10
    ours = effective_weights(torch.from_numpy(counts), beta)
    assert ours.tolist() == pytest.approx(theirs.tolist(), rel=1e-6)


def test_limits_of_effective_weights():
    counts = tensor([30, 20, 10])
    assert effective_weights(counts, 0).tolist() == pytest.approx([1, 1, 1])
    balanced = balanced_weights(counts)
    near_one = effective_weights(counts, 1 - 1e-9)
    assert near_one.tolist() == pytest.approx((balanced * 3 / balanced.sum()).tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: class_weights(SIZES, "balanced", 0.9, tuple("abcd")),
            "class_weights need training images of every class, there are none of c",
        ),
        (lambda: unequal().class_weights("cui"), 'kind must be "balanced" or "effective", not \'cui\''),
        (lambda: unequal().class_weights("effective", beta=1), r"beta must be in \[0, 1\), got 1"),
        (lambda: unequal(sampling="over").class_weights(), "balances the classes already"),
    ],
)
def test_weights_that_make_no_sense(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_counts_need_data():
    with pytest.raises(RuntimeError, match="Digits is not set up"):
        _ = Digits().class_counts
