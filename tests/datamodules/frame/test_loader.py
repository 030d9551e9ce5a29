"""Stopping and going on in the middle of an epoch, without Lightning."""

import numpy as np
import pytest
import torch

from datamodules.frame.image_data import _identity
from datamodules.frame.loader import ResumableLoader
from datamodules.frame.memory import Augment, MemorySet
from datamodules.frame.order import Order

LENGTH = 5  # batches an epoch


def loader(workers=0, batch_size=4, images=22):
    pixels = np.random.default_rng(0).integers(0, 256, (images, 8, 8, 3), np.uint8)
    data = MemorySet(pixels, torch.arange(images), Augment(pixels, 1, True, None))
    order = Order(torch.arange(images), shuffle=True, seed=1)
    return ResumableLoader(
        data, batch_size=batch_size, sampler=order, drop_last=True, collate_fn=_identity, num_workers=workers
    )


def take(loader, epoch, count=None):
    """The first batches of an epoch; iter() before set_epoch(), as Lightning does it."""
    batches = iter(loader)
    loader.sampler.set_epoch(epoch)
    return [batch for _, batch in zip(range(count or LENGTH), batches, strict=False)]


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_any_number_of_workers_gives_the_same_batches(workers):
    for epoch in (0, 1):
        assert same(take(loader(workers), epoch), take(loader(), epoch))


def test_epochs_differ_in_order_and_in_augmentation():
    one, two = take(loader(), 0), take(loader(), 1)
    assert not torch.equal(one[0][1], two[0][1])
    images = {i.item(): x for images, index in one for x, i in zip(images, index, strict=True)}
    again = {i.item(): x for images, index in two for x, i in zip(images, index, strict=True)}
    common = images.keys() & again.keys()
    assert sum(torch.equal(images[i], again[i]) for i in common) < len(common) / 2


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("done", range(LENGTH + 1))
def test_goes_on_with_the_next_batch(done, workers):
    first = loader(workers)
    take(first, epoch=2, count=done) if done else first.sampler.set_epoch(2)
    state = first.state_dict()
    assert state["epoch"] == (2 if done < LENGTH else 3) and state["batch"] == done % LENGTH

    second = loader(workers)
    second.load_state_dict(state)
    assert second.state_dict() == state
    expected = take(loader(), 2)[done:] if done < LENGTH else take(loader(), 3)
    assert same(list(second), expected)
    assert same(take(second, 4), take(loader(), 4))  # and the next epoch is whole


def test_the_position_belongs_to_its_epoch():
    resumed = loader()
    resumed.load_state_dict({**loader().state_dict(), "epoch": 0, "batch": 3})
    assert same(take(resumed, 1), take(loader(), 1))


def test_lightnings_count_is_believed():
    one = loader()
    take(one, 0, count=3)
    one.finished = lambda: 2  # the third batch was handed out, but is not finished
    assert one.state_dict()["batch"] == 2


@pytest.mark.parametrize(("change", "name"), [({"batch_size": 5}, "batch_size=4"), ({"images": 30}, "images=22")])
def test_refuses_another_shape_in_the_middle_only(change, name):
    one = loader()
    take(one, 0, count=2)
    with pytest.raises(ValueError, match=f"in the middle of an epoch with {name}"):
        loader(**change).load_state_dict(one.state_dict())
    take(one, 0)
    loader(**change).load_state_dict(one.state_dict())


def test_refuses_another_number_of_processes():
    one, two = loader(), loader()
    take(one, 0, count=2)
    two.sampler.num_replicas = 2
    with pytest.raises(ValueError, match="processes=1, this run has processes=2"):
        two.load_state_dict(one.state_dict())


@pytest.mark.parametrize("name", ["indices", "repeats", "sampling"])
def test_refuses_as_many_other_images(name):
    one, two = loader(), loader()
    take(one, 0, count=2)
    other = {"indices": two.sampler.indices + 1, "repeats": 2, "sampling": "over"}
    setattr(two.sampler, name, other[name])
    with pytest.raises(ValueError, match="with other images .*, this run has these: resume with the same"):
        two.load_state_dict(one.state_dict())
