"""Protocols against torchvision on Pillow images; multi-scale against a loop."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from datamodules.transforms import Center, MultiScale, TenCrop, evaluation_transform
from datamodules.transforms.resizing import resize


def worst(left, right):
    assert left.shape == right.shape and left.dtype == right.dtype == torch.uint8
    return (left.int() - right.int()).abs().max()


@pytest.mark.parametrize(("size", "resized"), [(224, 256), (64, 74), (32, 37), (299, 342), (256, 293)])
def test_center_is_within_a_level_of_pillow(size, resized, photo, pillow):
    """The short side is rounded up, as GluonCV's script does: ceil(224 / .875) = 256, ceil(299 / .875) = 342."""
    transform = Center(size)
    assert transform.resized == resized
    reference = v2.Compose([v2.Resize(resized), v2.CenterCrop(size)])
    for image in (photo, photo.transpose(1, 2), photo[:, :300, :400]):
        assert worst(transform(image), F.pil_to_tensor(reference(pillow(image)))) <= 1


def test_bicubic_and_another_fraction(photo, pillow):
    reference = v2.Compose([v2.Resize(232, v2.InterpolationMode.BICUBIC), v2.CenterCrop(224)])
    assert worst(Center(224, 232, "bicubic")(photo), F.pil_to_tensor(reference(pillow(photo)))) <= 1


@pytest.mark.parametrize("size", [32, 224])
def test_ten_crops_are_those_of_pillow(size, photo, pillow):
    views = TenCrop(size)(photo)
    assert views.is_contiguous(memory_format=torch.channels_last)
    reference = v2.Compose([v2.Resize(Center(size).resized), v2.TenCrop(size)])
    expected = torch.stack([F.pil_to_tensor(view) for view in reference(pillow(photo))])
    assert worst(views, expected) <= 1
    assert torch.equal(views[4], Center(size)(photo))


def test_multi_scale_is_a_loop(photo):
    views = MultiScale(224)(photo)
    expected = []
    for short in (224, 256, 384, 480, 640):
        resized = v2.Resize(short)(photo)
        expected += v2.TenCrop(224)(resized)
    assert torch.equal(views, torch.stack(expected)) and len(views) == 50


def test_scales_are_in_proportion():
    assert MultiScale(224).scales == (224, 256, 384, 480, 640)
    assert MultiScale(112).scales == (112, 128, 192, 240, 320)
    assert MultiScale(32, scales=(32, 40)).scales == (32, 40)


@pytest.mark.parametrize("name", ["center", "10-crop", "multi-scale"])
@pytest.mark.parametrize("size", [32, 64, 224])
def test_images_smaller_than_the_crop(name, size, photo):
    for image in (photo[:, :20, :30], photo[:, :1, :1], photo[:, :40, :10]):
        views = evaluation_transform(name, size)(image)
        assert views.shape[-3:] == (3, size, size) and views.dtype == torch.uint8
        assert views.ndim == (3 if name == "center" else 4)


def test_refuses_a_short_side_below_the_crop():
    with pytest.raises(ValueError, match="at least the crop's 224"):
        Center(224, 200)
    with pytest.raises(ValueError, match="at least the crop's 224"):
        MultiScale(224, (200, 224))


@pytest.mark.parametrize("shape", [(32, 32), (32, 37), (36, 33)])
def test_small_images_lose_no_border(shape):
    """An image no larger than the resized one is shown whole: CIFAR's stay as they are."""
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    view = Center(32)(image)
    assert view.shape == (3, 32, 32)
    if shape == (32, 32):
        assert torch.equal(view, image)
    assert not torch.equal(Center(32, 37)(image), view)  # a short side that is said is kept


def test_smaller_images_are_enlarged_to_the_crop():
    image = torch.randint(256, (3, 8, 8), dtype=torch.uint8)
    assert torch.equal(Center(32)(image), resize(image, 32, 32))
