"""Objects of a batch: together and apart, cut by hand; mixup, mosaic and sizes with boxes."""

import lightning as L
import pytest
import torch

from callbacks import BoxFlip, MixUp, Mosaic, MultiScale
from callbacks.data.mosaic import mosaic, mosaic_boxes
from callbacks.frame.objects import Objects, join, split
from tests.callbacks.data.boxed import fits, rectangles


def test_apart_and_together_keep_all_entries():
    targets = [
        {"boxes": torch.rand(n, 4), "labels": torch.arange(n), "iscrowd": torch.zeros(n).long()} for n in (2, 0, 3)
    ]
    again = split(join(targets), 3)
    for old, new in zip(targets, again, strict=True):
        assert old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in old)


def test_cut_by_hand():
    """Wholly inside; half inside; a strip of 2 px; a twentieth; small and not cut; outside."""
    boxes = [[1, 1, 9, 9], [5, 0, 15, 8], [8, 0, 20, 8], [9.5, 0, 19.5, 8], [3, 3, 4, 4], [12, 1, 14, 5]]
    objects = Objects(torch.tensor(boxes), torch.zeros(6).long(), {"labels": torch.arange(6)})
    left = objects.cut(torch.zeros(2), torch.tensor([10.0, 10.0]))
    assert left.more["labels"].tolist() == [0, 1, 4] and left.boxes[1].tolist() == [5, 0, 10, 8]


def test_mosaic_by_hand():
    """A cut at row 12, column 18 of 24 x 36; each part shows the same part of another image."""
    images, targets = rectangles((2, 2, 8, 8), (20, 3, 30, 9), (4, 14, 10, 20), (15, 10, 25, 22))
    row, column, perms = torch.full((4,), 12), torch.full((4,), 18), [torch.arange(4).roll(-k) for k in (1, 2, 3)]
    pixels = mosaic(images, images.new_ones(4, 1), row, column, perms)[0]
    found = split(mosaic_boxes(join(targets), row, column, perms, (24, 36)), 4)
    assert found[0]["boxes"].tolist() == [[2, 2, 8, 8], [20, 3, 30, 9], [4, 14, 10, 20], [18, 12, 25, 22]]
    assert found[0]["labels"].tolist() == [0, 1, 2, 3]
    for k in range(4):
        height, width = slice(0, 12) if k < 2 else slice(12, 24), slice(0, 18) if k % 2 == 0 else slice(18, 36)
        part = torch.zeros(3, 24, 36)
        part[:, height, width] = pixels[0, :, height, width]
        assert fits(part, found[0]["boxes"][k])


@pytest.mark.parametrize("trick", [MixUp(1.5), Mosaic(p=1.0), MultiScale((0.5, 1.5), 1, 4)], ids=repr)
def test_every_box_still_fits_what_is_white(trick):
    """Images with one object, at the same place in all, so that whatever is mixed, the white rectangle is there."""
    torch.manual_seed(4)
    batch = rectangles(*[(8, 4, 28, 20)] * 4)
    batch = [batch[0], [{**t, "boxes": t["boxes"].clone()} for t in batch[1]]]
    trainer = L.Trainer(barebones=True)
    trick.on_train_batch_start(trainer, L.LightningModule(), batch, 0)
    images, targets = batch
    for image, target in zip(images, targets, strict=True):
        low, high = target["boxes"][:, :2].amin(0), target["boxes"][:, 2:].amax(0)
        assert fits(image, torch.cat([low, high]), by=2.01)  # slivers of mosaics go
    assert len(targets) == 4 and all(len(t["boxes"]) == len(t["labels"]) > 0 for t in targets)


def test_mixup_has_the_objects_of_both():
    torch.manual_seed(1)
    batch = rectangles((2, 2, 8, 8), (20, 3, 30, 9), (4, 12, 10, 20))
    MixUp(1.5).on_train_batch_start(L.Trainer(barebones=True), L.LightningModule(), batch, 0)
    for i, (image, target) in enumerate(zip(*batch, strict=True)):
        assert target["labels"][0] == i and len(target["labels"]) in (1, 2)
        for box in target["boxes"].long():
            assert (image[:, box[1] : box[3], box[0] : box[2]] > 0).all()


def test_tricks_of_boxes_refuse_a_classifier(trainer, tiny_model, tiny_data):
    with pytest.raises(TypeError, match="BoxFlip needs boxes, and Classifier has none: train a zoo.Detector"):
        trainer(callbacks=[BoxFlip()]).fit(tiny_model, tiny_data)
