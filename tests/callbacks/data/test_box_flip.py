"""Box flip: the boxes by hand and against the pixels, twice is nothing, and how often."""

import lightning as L
import torch

from callbacks import BoxFlip
from callbacks.data.box_flip import flip
from callbacks.frame.objects import join, split
from tests.callbacks.data.boxed import fits, rectangles


def test_boxes_by_hand_and_by_pixels():
    images, targets = rectangles((2, 3, 10, 20), (30, 1, 36, 4))
    turned, objects = flip(images, join(targets), torch.tensor([True, False]))
    moved = split(objects, 2)
    assert moved[0]["boxes"].tolist() == [[26, 3, 34, 20]] and moved[1]["boxes"].tolist() == [[30, 1, 36, 4]]
    assert all(fits(image, target["boxes"][0]) for image, target in zip(turned, moved, strict=True))
    again, objects = flip(turned, objects, torch.tensor([True, False]))
    assert torch.equal(again, images) and torch.equal(objects.boxes, join(targets).boxes)


def test_half_of_the_images_are_turned():
    torch.manual_seed(3)
    batch = rectangles(*[(2, 3, 10, 20)] * 400)
    BoxFlip().on_train_batch_start(L.Trainer(barebones=True), L.LightningModule(), batch, 0)
    left = sum(target["boxes"][0, 0].item() == 2 for target in batch[1])
    assert 160 < left < 240
