"""What every data module owes: the batch contract, repeatable order, a clean split, each image once."""

import os
from contextlib import nullcontext

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import normalize, to_dtype

import datamodules
from datamodules import ImageData
from datamodules.frame.memory import MemoryData

OTHER_WAYS = ("ImageFolder in memory", "Prepared in chunks", "Prepared at an address")
OF_IMAGES = [
    name
    for name in datamodules.__all__
    if issubclass(getattr(datamodules, name), ImageData) and getattr(datamodules, name).task != "detection"
]
pytestmark = pytest.mark.parametrize("name", [*OF_IMAGES, *OTHER_WAYS])

CENTER = ["center-crop"]  # of pixels as they are


@pytest.fixture
def ready(build, monkeypatch):
    """`ready(name, seed=0, **options)`: built and set up, with batches of 20."""

    def make(name, seed=0, **options):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        data = build(name, **{"batch_size": 20, **options})
        data.prepare_data()
        data.setup()
        return data

    return make


def in_memory(data):
    return isinstance(data, MemoryData) or getattr(data, "cache", None) == "memory"


def labels(images):
    """One class an image: of masks, what their set is split by."""
    return getattr(images, "labels", images.targets)


def as_evaluation_sees(images):
    """uint8 (n, 3, S, S): all images of a data set, one by one."""
    if hasattr(images, "images"):
        return torch.from_numpy(images.images).permute(0, 3, 1, 2)
    return torch.stack([images.evaluate(images.picture(i)) for i in range(len(images))])


def epoch(data, number=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_batches_are_bytes_in_channels_last_order(name, ready):
    data = ready(name)
    assert isinstance(data, ImageData)
    assert data.num_classes == len(data.classes) and all(isinstance(c, str) for c in data.classes)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        assert isinstance(loader, DataLoader)
        for batch in loader:
            assert isinstance(batch, list)
            images, targets = batch
            assert images.dtype == torch.uint8 and targets.dtype == torch.int64
            assert images.shape[1:] == (3, data.image_size, data.image_size)
            assert targets.shape == (len(images), *([data.image_size] * 2 if data.task == "segmentation" else []))
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert targets.min() >= 0 and targets.max() < data.num_classes


def test_training_batches_are_full_and_their_number_is_told(name, ready):
    data = ready(name)
    loader = data.train_dataloader()
    sizes = [len(targets) for _, targets in loader]
    assert len(sizes) == len(loader) == len(data.train_indices) // 20 and set(sizes) == {20}


def test_normalised_on_arrival(name, ready):
    data = ready(name)
    batch = next(iter(data.train_dataloader()))
    images, targets = data.on_after_batch_transfer(batch, 0)
    assert images.dtype == torch.float32 and targets is batch[1]
    assert len(data.mean) == len(data.std) == 3
    torch.testing.assert_close(images, normalize(to_dtype(batch[0], torch.float32, scale=True), data.mean, data.std))
    again = data.on_after_batch_transfer([images, targets], 0)
    assert again[0] is images and again[1] is targets


def test_same_seed_same_batches(name, ready):
    one, two, other = epoch(ready(name, seed=1)), epoch(ready(name, seed=1)), epoch(ready(name, seed=2))
    assert same(one, two) and not same(one, other)


def test_the_global_generator_is_neither_used_nor_moved(name, ready):
    data = ready(name)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = epoch(data)
    list(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert same(one, epoch(data))


def test_epochs_differ(name, ready):
    data = ready(name)
    assert not same(epoch(data, 0), epoch(data, 1))
    assert same(epoch(data, 1), epoch(data, 1))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(name, workers, ready, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)  # or torch advises against 3
    alone, advice = ready(name), nullcontext()
    if in_memory(alone):
        advice = pytest.warns(UserWarning, match=f"num_workers={workers}: workers make images in memory several times")
    with advice:
        helped = ready(name, num_workers=workers)
    assert same(epoch(alone, 3), epoch(helped, 3))
    assert same(list(alone.val_dataloader()), list(helped.val_dataloader()))


def test_the_batch_size_changes_no_image(name, ready):
    def images(data):
        return torch.cat([x for x, _ in epoch(data)])

    small, large = images(ready(name, batch_size=10)), images(ready(name, batch_size=20))
    assert torch.equal(small[: len(large)], large)


def test_goes_on_in_the_middle_of_an_epoch(name, ready):
    first, second = ready(name).train_dataloader(), ready(name).train_dataloader()
    batches = iter(first)
    next(batches), next(batches)
    second.load_state_dict(first.state_dict())
    assert same(list(second), list(batches))


def test_trains_stops_and_goes_on(name, ready, linear, trainer, save_at, tmp_path):
    path = tmp_path / "three.ckpt"
    straight, resumed = (linear(size=ready(name).image_size, classes=100) for _ in range(2))
    trainer(max_epochs=2, callbacks=[save_at("on_train_batch_end", 3, path)]).fit(straight, ready(name, seed=1))
    trainer(max_epochs=2).fit(resumed, ready(name, seed=2), ckpt_path=path, weights_only=True)
    assert len(straight.train_batches) > 6
    assert resumed.train_batches == straight.train_batches[3:]
    assert all(map(torch.equal, straight.parameters(), resumed.parameters()))


def test_the_split_is_disjoint_stratified_and_repeatable(name, ready):
    data, again, other = ready(name), ready(name, seed=1), ready(name, split_seed=1)
    train, val = data.train_indices, data.val_indices
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(len(data.train_set)))
    assert len(val) == round(0.1 * len(data.train_set))
    share = labels(data.train_set)[val].bincount(minlength=data.num_classes)
    fair = labels(data.train_set).bincount(minlength=data.num_classes) * 0.1
    assert (share - fair).abs().max() < 1
    assert torch.equal(again.val_indices, val)  # the seed of the run does not move it
    assert not torch.equal(other.val_indices, val)


def test_validation_and_test_see_each_image_once_as_it_is(name, ready):
    data = ready(name)
    images = torch.cat([x for x, _ in data.val_dataloader()])
    assert torch.equal(images, as_evaluation_sees(data.train_set)[data.val_indices])
    images = torch.cat([x for x, _ in data.test_dataloader()])
    assert torch.equal(images, as_evaluation_sees(data.test_set))


def test_training_never_sees_a_validation_image(name, ready):
    as_it_is = {"padding": 0, "flip": False} if in_memory(ready(name)) else {"transform": CENTER, "evaluation": CENTER}
    data = ready(name, **{} if name == "Shapes" else as_it_is)
    seen = {bytes(image.contiguous().numpy()) for k in range(3) for x, _ in epoch(data, k) for image in x}
    known = {bytes(image.contiguous().numpy()) for image in as_evaluation_sees(data.train_set)[data.train_indices]}
    assert seen <= known  # an image of validation may be there twice, in Digits


def test_no_split_no_validation(name, ready, linear, trainer):
    data = ready(name, val_split=0)
    assert len(data.train_indices) == len(data.train_set) and data.val_dataloader() == []
    model = linear(size=data.image_size, classes=100)
    trainer(max_epochs=1).fit(model, data)
    assert model.val_images == 0 and len(model.train_batches) == len(data.train_set) // 20


def test_the_trainer_evaluates_each_image_once(name, ready, linear, trainer):
    data = ready(name)
    model = linear(size=data.image_size, classes=100)
    trainer().validate(model, data, verbose=False)
    trainer().test(model, data, verbose=False)
    assert model.val_images == len(data.val_indices)
    assert model.test_targets == data.test_set.targets.tolist()


def test_a_batch_larger_than_the_data_is_refused(name, ready):
    with pytest.raises(ValueError, match=r"batch_size=5000 is more than the \d+ training images: lower it"):
        ready(name, batch_size=5000).train_dataloader()


def test_says_when_it_is_not_set_up(name, build):
    data = build(name)
    for loader in (data.train_dataloader, data.val_dataloader):
        with pytest.raises(
            RuntimeError, match=f"{type(data).__name__} is not set up: hand it to a Trainer, or call prepare_data"
        ):
            loader()
    with pytest.raises(RuntimeError, match="no test images, or setup"):
        data.test_dataloader()


def test_shows_a_batch(name, build):
    figure = build(name).show_batch(5)  # sets the data up by itself
    titles = [axis.get_title() for axis in figure.axes]
    assert len(titles) == 6 and all(titles[:5]) and titles[5] == ""


def test_predict_sees_the_test_images(name, ready, linear, trainer):
    data = ready(name)
    model = linear(size=data.image_size, classes=100)
    model.predict_step = lambda batch, batch_idx: batch[1]
    seen = torch.cat(trainer().predict(model, ready(name)))
    assert torch.equal(seen, data.test_set.targets)


def test_without_test_images_those_of_validation_are_predicted(name, ready, monkeypatch):
    data = ready(name)
    data.test_set, make = None, data.image_set
    monkeypatch.setattr(data, "image_set", lambda part: None if part == "test" else make(part))
    data.setup("predict")
    images = torch.cat([x for x, _ in data.predict_dataloader()])
    assert torch.equal(images, torch.cat([x for x, _ in data.val_dataloader()]))


def test_a_tilde_is_the_home_folder(name, build, monkeypatch):
    root = getattr(build(name), "root", None)
    if root is None or name in ("HuggingFace", "Prepared at an address", "Table"):
        pytest.skip("it is made of no folder")
    monkeypatch.setenv("HOME", str(root.parent))
    assert build(name, root=f"~/{root.name}").root == root
