"""Copy-paste: a paste by hand, what is left of covered boxes, boxes against the pixels."""

import lightning as L
import torch

from callbacks import CopyPaste
from callbacks.data.copy_paste import copy_paste, what_is_left
from callbacks.frame.objects import Objects, join, split
from tests.callbacks.data.boxed import fits, rectangles


def test_by_hand():
    """Image 0 gets the object of image 1, image 1 that of image 2, and image 2, from image 0, nothing."""
    images, targets = rectangles((2, 2, 8, 8), (20, 3, 30, 9), (4, 12, 10, 20))
    images = images * torch.tensor([1.0, 2.0, 3.0])[:, None, None, None]
    chosen = torch.tensor([False, True, True])
    mixed, objects = copy_paste(images, join(targets), torch.tensor([1, 2, 0]), chosen)
    found = split(objects, 3)
    assert found[0]["boxes"].tolist() == [[2, 2, 8, 8], [20, 3, 30, 9]] and found[0]["labels"].tolist() == [0, 1]
    assert found[1]["boxes"].tolist() == [[20, 3, 30, 9], [4, 12, 10, 20]] and found[1]["labels"].tolist() == [1, 2]
    assert torch.equal(mixed[2], images[2]) and found[2]["labels"].tolist() == [2]
    assert torch.equal(mixed[0], torch.maximum(images[0], images[1]))
    assert fits(mixed[1] == 3, torch.tensor([4.0, 12, 10, 20])) and fits(mixed[1] == 2, torch.tensor([20.0, 3, 30, 9]))


def test_what_is_left_of_covered_boxes():
    covered = torch.zeros(2, 24, 36, dtype=torch.bool)
    covered[0, 0:10, 0:6] = True
    boxes = torch.tensor([[2.0, 2, 10, 8], [0, 0, 6, 10.5], [20.3, 3.7, 25.2, 9.1], [2, 2, 10, 8]])
    objects = Objects(boxes, torch.tensor([0, 0, 0, 1]), {"labels": torch.arange(4)})
    left = what_is_left(objects, covered)
    assert left.more["labels"].tolist() == [0, 2, 3]  # the second is covered to a twentieth
    torch.testing.assert_close(left.boxes, torch.tensor([[6.0, 2, 10, 8], [20.3, 3.7, 25.2, 9.1], [2, 2, 10, 8]]))


def test_every_box_still_fits_its_colour():
    torch.manual_seed(2)
    images, targets = rectangles((2, 2, 8, 8), (20, 3, 30, 9), (4, 12, 10, 20), (15, 15, 25, 23))
    batch = [images * torch.arange(1, 5)[:, None, None, None], targets]
    CopyPaste(1.0).on_train_batch_start(L.Trainer(barebones=True), L.LightningModule(), batch, 0)
    assert sum(len(t["labels"]) for t in batch[1]) > 4
    for image, target in zip(*batch, strict=True):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            assert fits((image == label + 1).float(), box)
