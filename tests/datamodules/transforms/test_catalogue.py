"""What every named operation, preset and protocol owes: bytes in and out, torch's draws only, a name that is found."""

import pickle
import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from datamodules import transforms
from datamodules.transforms import (
    OPERATIONS,
    PRESETS,
    PROTOCOLS,
    Cutout,
    Lighting,
    RandomErasing,
    RandomResizedCrop,
    evaluation_transform,
    operation,
    train_transform,
)

CROPS = ("random-crop", "resized-crop", "resized-crop-bicubic", "scale-jitter", "center-crop")
ALL = [*OPERATIONS, *PRESETS]
each_name = pytest.mark.parametrize("name", ALL)


@pytest.fixture(scope="module")
def images(photo):
    """Of several sizes and kinds: photograph, grey, black, white, planes instead of a decoder's strides."""
    part = photo[:, 50:150, 80:230]
    grey = part[:1].expand(3, -1, -1)
    return [photo, part, grey, torch.zeros_like(part), torch.full_like(part, 255), part[:, :20, :9], part.contiguous()]


@pytest.mark.parametrize("size", [32, 64, 224])
@each_name
def test_bytes_in_bytes_out(name, size, images):
    torch.manual_seed(0)
    transform = operation(name, size) if name in OPERATIONS else train_transform(name, size)
    for image in images:
        before = image.clone()
        result = transform(image)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.uint8
        assert torch.equal(image, before)
        if name in CROPS or name in PRESETS:
            assert result.shape == (3, size, size)
        elif name != "resize-short":
            assert result.shape == image.shape


@each_name
def test_draws_are_torchs_only(name, photo):
    """The same seed gives the same image; numpy's and Python's generators are not moved."""
    transform, image = train_transform([name, "resized-crop"], 32), photo[:, 50:150, 80:230]
    python, numpy = random.getstate(), np.random.get_state()[1].copy()
    results = []
    for seed in (1, 1, *range(2, 8)):
        torch.manual_seed(seed)
        results.append(transform(image))
    assert python == random.getstate() and np.array_equal(numpy, np.random.get_state()[1])
    assert torch.equal(results[0], results[1])
    assert not all(torch.equal(results[0], result) for result in results)


@pytest.mark.parametrize("name", OPERATIONS)
def test_changes_images_in_the_gallery(name, photo):
    torch.manual_seed(0)
    image, made = photo[:, 50:150, 80:230], operation(name, 64)
    results = [made(image) for _ in range(12)]
    assert any(result.shape != image.shape or not torch.equal(result, image) for result in results)


@pytest.mark.parametrize("name", OPERATIONS)
def test_tells_what_it_is(name):
    assert len(OPERATIONS[name].__doc__.splitlines()) == 1
    text = repr(operation(name, 32))
    assert text.startswith(type(operation(name, 32)).__name__ + "(") and "=" in text and "0x" not in text


@pytest.mark.parametrize("name", transforms.__all__)
def test_objects_say_what_they_are(name):
    assert len(getattr(transforms, name).__doc__.splitlines()[0]) > 20


@pytest.mark.parametrize("name", [*ALL, *PROTOCOLS])
def test_goes_to_worker_processes(name, photo):
    made = (evaluation_transform if name in PROTOCOLS else train_transform)(name, 32)
    copy = pickle.loads(pickle.dumps(made))
    results = []
    for transform in (made, copy):
        torch.manual_seed(0)
        image = photo
        for step in transform.operations:
            image = step(image)
        results.append(image)
    assert torch.equal(*results) and repr(copy) == repr(made)


# ---- specifications


def test_presets_are_their_papers():
    """The operations, and in this order."""
    kinds = {name: [type(operation) for operation in train_transform(name, 224).operations] for name in PRESETS}
    assert kinds["inception"] == [RandomResizedCrop, transforms.RandomHorizontalFlip]
    assert kinds["resnet"] == [transforms.ScaleJitter, transforms.RandomHorizontalFlip]
    assert kinds["bag-of-tricks"] == [
        RandomResizedCrop,
        transforms.RandomHorizontalFlip,
        transforms.HSVScaling,
        Lighting,
    ]
    for name in ("deit", "convnext"):
        assert kinds[name] == [
            RandomResizedCrop,
            transforms.RandomHorizontalFlip,
            transforms.RandAugment,
            RandomErasing,
        ]
        crop, _, policy, erasing = train_transform(name, 224).operations
        assert (crop.interpolation, policy.magnitude, policy.std, erasing.p) == ("bicubic", 9, 0.5, 0.25)
    for name, magnitude in (("resnet-strikes-back", 7), ("resnet-strikes-back-a3", 6)):
        assert kinds[name] == [RandomResizedCrop, transforms.RandomHorizontalFlip, transforms.RandAugment]
        crop, _, policy = train_transform(name, 160).operations
        assert (crop.interpolation, policy.magnitude, policy.std) == ("bicubic", magnitude, 0.5)


def test_a_list_is_applied_in_order(photo):
    seen = []

    def first(image):
        seen.append("first")
        return image

    pipeline = train_transform([first, "inception", Cutout(8, (0, 0, 0)), ["lighting"]], 32)
    assert pipeline(photo).shape == (3, 32, 32) and seen == ["first"]
    kinds = [type(operation).__name__ for operation in pipeline.operations]
    assert kinds == ["function", "RandomResizedCrop", "RandomHorizontalFlip", "Cutout", "Lighting"]
    assert "Cutout(side=8" in repr(pipeline)


def test_a_callable_stands_for_itself(photo):
    ours = v2.Compose([v2.CenterCrop(32), v2.RandomVerticalFlip(1.0)])
    assert torch.equal(train_transform(ours, 32)(photo), ours(photo))
    assert torch.equal(evaluation_transform(ours, 32)(photo), ours(photo))
    assert torch.equal(evaluation_transform(["resize-short", "center-crop"], 32)(photo), PROTOCOLS["center"](32)(photo))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resized_crop", "did you mean 'resized-crop'"),
        ("RandAugment", "'randaugment'"),
        ("cut-out", "did you mean 'cutout'"),
        ("bag of tricks", "did you mean 'bag-of-tricks'"),
        ("xyz", "there are: inception, "),
        ("normalize", "the data module normalises"),
        ("whitening", "data.whitening"),
    ],
)
def test_unknown_names(name, says):
    with pytest.raises(ValueError, match=says):
        train_transform(name, 32)
    with pytest.raises(ValueError, match=says):
        train_transform(["flip", [name]], 32)


def test_unknown_operations_and_protocols():
    with pytest.raises(ValueError, match="did you mean '10-crop'"):
        evaluation_transform("ten-crop", 32)
    with pytest.raises(ValueError, match="did you mean 'flip'"):
        operation("flop", 32)
    with pytest.raises(ValueError, match="not its class"):
        train_transform(Lighting, 32)
    with pytest.raises(ValueError, match="got 3"):
        train_transform(3, 32)


@pytest.mark.parametrize(
    "wrong",
    ["flip", v2.ToDtype(torch.float32, scale=True), lambda x: x[:1], lambda x: x.numpy(), lambda x: x[None, :, :8, :8]],
)
def test_results_that_do_not_fit_a_batch(wrong, photo):
    with pytest.raises(ValueError, match="end with a crop to that size.*normalisation to the data module"):
        train_transform([wrong], 8)(photo)


def test_views_are_for_evaluation_only(photo):
    views = evaluation_transform("10-crop", 32)(photo)
    assert views.shape == (10, 3, 32, 32)
    with pytest.raises(ValueError, match="10, 3, 32, 32"):
        train_transform([transforms.TenCrop(32)], 32)(photo)
