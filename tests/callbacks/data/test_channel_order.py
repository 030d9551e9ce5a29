"""ChannelOrder: by hand, and the distribution of the orders."""

import torch

from callbacks import ChannelOrder
from callbacks.data.channel_order import channel_order
from tests.callbacks.conftest import SeenBatches
from tests.conftest import tiny_classifier


def test_by_hand():
    images = torch.arange(24.0).view(2, 3, 2, 2)
    mixed = channel_order(images, torch.tensor([[2, 0, 1], [0, 1, 2]]))
    assert torch.equal(mixed[0], images[0, [2, 0, 1]]) and torch.equal(mixed[1], images[1])


def permuted(p, count=6000):
    """Return the index of each image's permutation, from images whose channels are the constants 0, 1 and 2."""
    torch.manual_seed(0)
    batch = [torch.arange(3.0).view(1, 3, 1, 1).expand(count, 3, 2, 2).clone(), torch.zeros(count)]
    trainer = type("Trainer", (), {"global_step": 0})()
    ChannelOrder(p).on_train_batch_start(trainer, None, batch, 0)
    return (batch[0][:, :, 0, 0] @ torch.tensor([9.0, 3.0, 1.0])).long()


def test_all_orders_are_as_likely():
    counts = permuted(1.0).bincount()
    counts = counts[counts > 0]
    assert len(counts) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # chi-squared with 5 degrees of freedom, p = 0.001


def test_with_probability_p():
    same = (permuted(0.3) == 5).float().mean()  # 0 x 9 + 1 x 3 + 2 x 1; a sixth of the permutations change nothing
    assert abs(same - (0.7 + 0.3 / 6)) < 0.02


def test_it_reaches_training_only(tiny_data, trainer):
    seen = SeenBatches()
    trainer(callbacks=[ChannelOrder(1.0), seen], max_epochs=1).fit(tiny_classifier(), tiny_data, tiny_data)
    for (mixed, _), (plain, _) in zip(seen.train, tiny_data, strict=True):
        assert not torch.equal(mixed, plain)
        assert torch.allclose(mixed.sum(1), plain.sum(1), atol=1e-6)
