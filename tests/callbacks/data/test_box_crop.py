"""Box crop: a part by hand, boxes against the pixels, objects that go, and the range of the parts."""

import lightning as L
import pytest
import torch

from callbacks import BoxCrop
from callbacks.data.box_crop import crop, draw_parts
from callbacks.frame.objects import join, split
from tests.callbacks.data.boxed import fits, rectangles


def test_a_quarter_by_hand():
    """The right lower quarter of 36 x 24: x' = 2 (x - 18), y' = 2 (y - 12)."""
    images, targets = rectangles((20, 14, 26, 20), (2, 3, 10, 9), (14, 10, 30, 22))
    corner, size = torch.full((3, 2), 0.5), torch.full((3, 2), 0.5)
    parts, objects = crop(images, join(targets), corner, size)
    found = split(objects, 3)
    assert found[0]["boxes"].tolist() == [[4, 4, 16, 16]] and fits(parts[0], found[0]["boxes"][0])
    assert found[1]["boxes"].shape == (0, 4) and found[1]["labels"].shape == (0,)  # its centre is outside
    assert found[2]["boxes"].tolist() == [[0, 0, 24, 20]] and fits(parts[2], found[2]["boxes"][0])


def test_the_whole_image_is_itself():
    images, targets = rectangles((2, 3, 10, 9))
    parts, objects = crop(images, join(targets), torch.zeros(1, 2), torch.ones(1, 2))
    torch.testing.assert_close(parts, images)
    assert torch.equal(objects.boxes, targets[0]["boxes"])


def test_parts_are_inside_and_of_the_right_shapes():
    corner, size = draw_parts(torch.rand(2000, 4, generator=torch.Generator().manual_seed(1)), 0.3)
    ratio = size[:, 0] / size[:, 1]
    assert corner.min() >= 0 and (corner + size).max() <= 1 and size.min() >= 0.3
    assert 0.5 - 1e-6 <= ratio.min() < 0.55 and 1.9 < ratio.max() <= 2 + 1e-6


def test_boxes_fit_after_random_parts_and_no_image_loses_all():
    torch.manual_seed(5)
    batch = rectangles(*[(6, 6, 16, 18)] * 60)
    before = batch[0].clone()
    BoxCrop(p=0.7).on_train_batch_start(L.Trainer(barebones=True), L.LightningModule(), batch, 0)
    changed = [not torch.equal(new, old) for new, old in zip(batch[0], before, strict=True)]
    assert 15 < sum(changed) < 55
    for image, target in zip(batch[0], batch[1], strict=True):
        assert len(target["boxes"]) == 1 and fits(image, target["boxes"][0], by=1.5)


def test_a_scale_of_one_is_refused():
    with pytest.raises(ValueError, match="BoxCrop: scale must be in"):
        BoxCrop(1.0)
