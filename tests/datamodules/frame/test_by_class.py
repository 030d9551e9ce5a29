"""P x K batches: their classes in every process, how many there are, and what the seed decides."""

import pytest
import torch
from torch import tensor

from datamodules import Digits
from datamodules.frame.by_class import ByClass, deal, most_batches, places

SIZES = tensor([13, 40, 0, 2, 21, 17])
TARGETS = torch.arange(6).repeat_interleave(SIZES)[torch.randperm(93, generator=torch.Generator().manual_seed(1))]


def share(rank=0, world=1, epoch=0, start=0, seed=4):
    """What a process gets, as pairs of key and index."""
    order = ByClass(torch.arange(100, 193), TARGETS, p=3, k=4, seed=seed)
    order.rank, order.num_replicas = rank, world
    order.set_epoch(epoch)
    order.start = start
    items = list(order)
    assert len(items) == len(order) - start
    return items


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_batch_of_every_process_has_k_images_of_p_classes(world):
    seen = []
    for rank in range(world):
        items = share(rank, world)
        for batch in tensor([index for _, index in items]).view(-1, 12):
            counts = TARGETS[batch - 100].bincount()
            assert counts[counts > 0].tolist() == [4] * 3
        seen += items
    assert len(set(seen)) == len(seen)  # no image twice; those of the class of two with draws of their own
    rare = [item for item in seen if TARGETS[item[1] - 100] == 3]
    assert all(sum(index == i for _, index in rare) == 2 for _, i in rare)


def test_most_batches_by_hand():
    assert most_batches(tensor([3, 3, 3]), 3) == 3
    assert most_batches(tensor([3, 3, 3]), 2) == 4
    assert most_batches(tensor([9, 1, 1]), 2) == 2  # the large class is in both
    assert most_batches(tensor([9, 1, 1]), 4) == 0


def test_as_many_batches_as_can_be_are_dealt():
    for seed in range(200):
        groups = torch.randint(0, 9, (7,), generator=torch.Generator().manual_seed(seed))
        dealt = deal(groups, 3, seed)  # fails in `topk` where a class without groups would be taken
        assert len(dealt) == most_batches(groups, 3)
        assert (dealt.flatten().bincount(minlength=7) <= groups).all()
        assert all(len(batch.unique()) == 3 for batch in dealt)


def test_classes_are_dealt_alike():
    together = torch.zeros(10, 10)
    for seed in range(300):
        for batch in deal(torch.full((10,), 6), 4, seed):
            together[batch[:, None], batch] += 1
    assert together.diagonal().tolist() == [1800.0] * 10
    pairs = together[~torch.eye(10, dtype=torch.bool)]
    assert pairs == pytest.approx([600] * 90, abs=4.5 * 600**0.5)  # 1/9 of 1800 times 3


def test_places_count_what_came_before():
    assert places(tensor([[2, 0], [2, 2], [0, 5]])).tolist() == [[0, 0], [1, 2], [1, 0]]


def test_epochs_and_seeds_differ_and_repeat_and_a_start_leaves_out():
    assert share() == share()
    assert [i for _, i in share()] != [i for _, i in share(epoch=1)] != [i for _, i in share(seed=5)]
    assert share(start=24) == share()[24:]
    assert share(1, 2, start=12) == share(1, 2)[12:]


def test_a_data_module_has_batches_of_noisy_classes():
    data = Digits(24, per_class=6, label_noise=0.4, val_split=0.1)
    data.setup("fit")
    batches = [targets for _, targets in data.train_dataloader()]
    assert all(targets.unique(return_counts=True)[1].tolist() == [6] * 4 for targets in batches)
    assert len(batches) >= 52  # of 1,293 images / 24 = 53.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 32, "per_class": 5}, "must divide batch_size=32"),
        ({"batch_size": 32, "per_class": 0}, "must divide"),
        ({"batch_size": 32, "per_class": 4, "sampling": "over"}, "leave out sampling"),
        ({"batch_size": 32, "per_class": 2}, "need 16 classes, and there are 10: lower batch_size to at most 20"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        data = Digits(**options)
        data.setup("fit")
        data.train_dataloader()
