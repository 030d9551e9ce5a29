"""Short sides and scale jitter, against torchvision on Pillow images and against plain resizing."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from datamodules.transforms import Center, MultiScale, ResizeShort, ScaleJitter, TenCrop
from datamodules.transforms.resizing import MAX_ENLARGED, short_side, trim


@pytest.mark.parametrize(("height", "width"), [(427, 640), (640, 427), (31, 32), (100, 100), (3, 1000), (500, 333)])
def test_sides_are_torchvisions(height, width):
    for short in (32, 73, 224, 256):
        expected = F.resize(torch.zeros(1, height, width), [short]).shape[-2:]
        assert short_side((height, width), short) == tuple(expected)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [32, 256, 600])
def test_short_side_is_within_a_level_of_pillow(mode, size, photo, pillow):
    resized = ResizeShort(size, mode)(photo)
    interpolation = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}[mode]
    reference = F.pil_to_tensor(v2.Resize(size, interpolation)(pillow(photo)))
    assert resized.shape == reference.shape and resized.dtype == torch.uint8
    assert (resized.int() - reference.int()).abs().max() <= 1


def test_strides_do_not_matter(photo):
    assert torch.equal(ResizeShort(50)(photo), ResizeShort(50)(photo.contiguous()))


def test_jitter_is_a_crop_of_the_resized_image(photo):
    params = {"height": 48, "width": 71, "top": 5, "left": 30}
    crop = ScaleJitter(32).transform(photo, params)
    assert torch.equal(crop, F.resize(photo, [48, 71])[:, 5:37, 30:62])


def test_jitter_draws_every_scale_and_place():
    torch.manual_seed(0)
    jitter, image = ScaleJitter(4, 5, 7), torch.zeros(3, 10, 20)
    params = [jitter.make_params([image]) for _ in range(600)]
    assert {p["height"] for p in params} == {5, 6, 7} and all(p["width"] == 2 * p["height"] for p in params)
    for height in (5, 6, 7):
        places = [p for p in params if p["height"] == height]
        assert 150 < len(places) < 250
        assert {p["top"] for p in places} == set(range(height - 4 + 1))
        assert {p["left"] for p in places} == set(range(2 * height - 4 + 1))


def test_jitter_has_the_papers_range(photo):
    jitter = ScaleJitter(224)
    assert (jitter.low, jitter.high) == (256, 480)
    assert (ScaleJitter(64).low, ScaleJitter(64).high) == (73, 137)
    for image in (photo, photo[:, :20, :30]):
        assert jitter(image).shape == (3, 224, 224)


@pytest.mark.parametrize("sides", [(32, 31, 40), (32, 50, 40)])
def test_refuses_a_range_that_cannot_be(sides):
    with pytest.raises(ValueError, match="size <= low <= high"):
        ScaleJitter(*sides)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(
    "transform", [Center(224), TenCrop(224), ResizeShort(256), ScaleJitter(224), Center(32), MultiScale(64)]
)
def test_a_strip_is_cropped_before_it_is_enlarged(transform, upright):
    """1 x 300,000 pixels with a short side of 256 would be 59 GB."""
    strip = (torch.arange(300_000) % 200).byte().expand(3, 1, -1)
    image = transform(strip.transpose(1, 2) if upright else strip)
    assert image.dtype == torch.uint8 and image.numel() <= 3 * MAX_ENLARGED


def test_only_what_would_be_too_large_is_cropped():
    for height, width, short in ((64, 2000, 256), (3000, 40, 32), (1, 256, 256), (500, 60_000, 256)):
        assert trim(torch.zeros(3, height, width), short).shape == (3, height, width)
    assert trim(torch.zeros(3, 1, 257), 256).shape == (3, 1, 256)
    middle = trim(torch.arange(1001.0).expand(3, 1, -1), 256)
    assert middle[0, 0].tolist() == list(range(372, 628))
