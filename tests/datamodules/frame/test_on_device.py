"""Batches made on the device: bit for bit those of the CPU path, in every order, in every part, and after a resume."""

import pytest
import torch

from datamodules import Arrays
from datamodules.frame.on_device import DeviceLoader
from tests.conftest import tiny_classifier


def make(trainer, device_data, **options):
    torch.manual_seed(4)
    pixels, classes = torch.randint(0, 256, (30, 8, 8, 3), dtype=torch.uint8), torch.arange(30) % 10
    data = Arrays(pixels, classes, 4, device_data=device_data, **{"val_split": 6, **options})
    data.trainer = trainer()
    data.setup("fit")
    return data


def batches(loader, epochs=2):
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        yield from loader


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 3, "flip": True},
        {"padding": 2, "flip": "alternating", "border": "reflect", "cutout": 3},
        {"cutout": 4, "repeats": 3, "channels": 1},
        {"per_class": 2, "flip": True},
    ],
)
def test_the_same_bits(options, trainer):
    ours, theirs = (make(trainer, where, **options) for where in (True, False))
    for part in ("train_dataloader", "val_dataloader", "plain_dataloader"):
        loader = getattr(ours, part)()
        assert type(loader) is DeviceLoader
        pairs = list(zip(batches(loader), batches(getattr(theirs, part)()), strict=True))
        assert len(pairs) > 2
        for (x, y), (x_, y_) in pairs:
            assert torch.equal(x, x_) and torch.equal(y, y_)
            assert x.permute(0, 2, 3, 1).is_contiguous() and x_.permute(0, 2, 3, 1).is_contiguous()
    assert len(ours._copies) == 1  # validation and training images are parts of one array


def test_a_resume_goes_on_within_the_epoch(trainer, tmp_path):
    def fit(where, ckpt=None, **options):
        torch.manual_seed(5)
        model, run = tiny_classifier(), trainer(**options)
        data = Arrays(*make(trainer, False).parts["train"], 4, val_split=0, padding=2, flip=True, device_data=where)
        run.fit(model, data, ckpt_path=ckpt, weights_only=True)
        return run, model

    _, whole = fit(False, max_epochs=2)
    run, _ = fit(True, max_steps=3)
    run.save_checkpoint(tmp_path / "third.ckpt")
    _, rest = fit(True, tmp_path / "third.ckpt", max_epochs=2)
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(a, b)


def test_by_itself_on_a_cuda_device_with_room_only(trainer, monkeypatch):
    data = make(trainer, "auto")
    assert data._on_device(data.train_set) is None  # a CPU
    free = {"bytes": 4 * 30 * 8 * 8 * 3}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["bytes"], 1 << 40))
    monkeypatch.setattr(type(data.trainer.strategy), "root_device", torch.device("cuda:0"))
    asked = []
    monkeypatch.setattr(type(data.train_set), "on_device", lambda self, device, limit, copies: asked.append(limit))
    data._on_device(data.train_set)
    assert asked == [30 * 8 * 8 * 3]


def test_images_that_take_more_than_the_limit_stay(trainer):
    data = make(trainer, True)
    size = data.train_set.images.nbytes + data.train_set.targets.nbytes
    assert data.train_set.on_device(torch.device("cpu"), size - 1, {}) is None
    assert data.train_set.on_device(torch.device("cpu"), size, {}) is not None


def test_what_cannot_be_there_is_refused(trainer):
    data = make(trainer, True, transform=lambda image: image)
    with pytest.raises(ValueError, match="device_data=True needs images in memory, and no transform="):
        data.train_dataloader()
    with pytest.raises(ValueError, match='device_data must be True, False or "auto"'):
        make(trainer, "gpu")
