"""What every data module of boxes owes: the batch contract, boxes that fit, order, resume; small real files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import datamodules
from datamodules import ShapeBoxes
from datamodules.frame.boxes import letterbox
from datamodules.shapes import Scene, boxes_of
from datamodules.voc import CLASSES

NAMES = [name for name in datamodules.__all__ if getattr(getattr(datamodules, name), "task", "") == "detection"]
every = pytest.mark.parametrize("name", NAMES)
WHITE = (6, 4, 14, 9)  # what is white in every picture of 20 x 10 pixels, x2 and y2 not included


def picture(path):
    """Black, with one white rectangle."""
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[WHITE[1] : WHITE[3], WHITE[0] : WHITE[2]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def voc(root):
    """Every image has the white rectangle, every third a difficult thing too, every fifth nothing."""
    thing = "<object><name>{}</name><difficult>{}</difficult><bndbox>{}</bndbox></object>"
    corners = "<xmin>7</xmin><ymin>5</ymin><xmax>14</xmax><ymax>9</ymax>"  # VOC counts from 1
    for year, part, count in (("2007", "trainval", 15), ("2007", "test", 5), ("2012", "trainval", 10)):
        base = root / "VOCdevkit" / f"VOC{year}"
        names = [f"{part}{i}" for i in range(count)]
        for i, name in enumerate(names):
            picture(base / "JPEGImages" / f"{name}.jpg")
            things = [thing.format(CLASSES[i % 20], 0, corners)] * (i % 5 > 0)
            things += [thing.format("person", 1, corners)] * (i % 3 == 0)
            (base / "Annotations").mkdir(exist_ok=True)
            text = f"<annotation><filename>{name}.jpg</filename>{''.join(things)}</annotation>"
            (base / "Annotations" / f"{name}.xml").write_text(text)
        (base / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (base / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(names))
    return root


def coco(root):
    pytest.importorskip("pycocotools", reason="reads COCO's annotations")
    for part, count in (("train", 20), ("val", 5)):
        box = [WHITE[0], WHITE[1], WHITE[2] - WHITE[0], WHITE[3] - WHITE[1]]
        things = [
            {"id": i + 1, "image_id": 100 + i, "category_id": (3, 90)[i % 2], "bbox": box, "iscrowd": int(i % 3 == 0)}
            for i in range(count)
            if i % 5
        ]
        things.append({"id": 99, "image_id": 101, "category_id": 3, "bbox": [1, 1, 0, 3], "iscrowd": 0})
        content = {
            "images": [{"id": 100 + i, "file_name": f"{i}.png"} for i in range(count)],
            "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
            "annotations": things,
        }
        for i in range(count):
            picture(root / f"{part}2017" / f"{i}.png")
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def build(tmp_path):
    def make(name, **options):
        options = {"batch_size": 4, "image_size": 40, **options}
        if name == "ShapeBoxes":
            options = {"images": 30, "test_images": 5, **options}
        else:
            options["root"] = {"VOC": voc, "COCO": coco}[name](tmp_path / name)
        data = getattr(datamodules, name)(**options)
        data.setup()
        return data

    return make


@every
def test_batches_are_bytes_with_a_dict_an_image(name, build):
    data = build(name)
    assert len(data.train_set) in (20, 25, 30) and data.num_classes == len(data.classes)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert isinstance(loader, DataLoader)
        for images, targets in loader:
            assert images.dtype == torch.uint8 and images.shape[1:] == (3, 40, 40)
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert isinstance(targets, list) and len(targets) == len(images)
            for target in targets:
                boxes, labels = target["boxes"], target["labels"]
                assert boxes.dtype == torch.float32 and boxes.shape == (len(labels), 4)
                assert labels.dtype == torch.int64 and (labels < data.num_classes).all() and (labels >= 0).all()
                assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= 0).all() and (boxes <= 40).all()
    floats, same = data.on_after_batch_transfer([images, targets], 0)
    assert floats.dtype == torch.float32 and same is targets


@every
def test_order_is_repeatable_and_resumes(name, build):
    def said(loader):
        return [[target["boxes"].tolist() for target in targets] for _, targets in loader]

    one, two = build(name).train_dataloader(), build(name).train_dataloader()
    batches = iter(one)
    next(batches)
    state, rest = one.state_dict(), said(batches)
    two.load_state_dict(state)
    assert said(two) == rest


@every
def test_what_needs_one_label_an_image_is_refused(name, build):
    with pytest.raises(ValueError, match=f"sampling needs one label an image, which {name} has not"):
        build(name, sampling="over")


@pytest.mark.parametrize("name", ["VOC", "COCO"])
def test_boxes_fit_what_is_white_after_the_square(name, build):
    data = build(name)
    for images, targets in data.train_dataloader():
        for image, target in zip(images, targets, strict=True):
            assert (image[:, 20:] == 114).all()  # below the picture of 40 x 20
            for box in target["boxes"]:
                assert box.tolist() == [2 * x for x in WHITE]
            seen = (image[0, :20] > 127).nonzero()
            low, high = seen.amin(0), seen.amax(0) + 1
            assert (low - torch.tensor([8, 12])).abs().max() <= 1 and (high - torch.tensor([18, 28])).abs().max() <= 1


def test_voc_of_both_years(build):
    data = build("VOC")
    assert len(data.train_set) == 25 and len(data.test_set) == 5
    objects = data.train_set.objects
    assert [len(o["labels"]) for o in objects[:6]] == [1, 1, 1, 2, 1, 0]
    assert objects[3]["iscrowd"].tolist() == [0, 1] and objects[3]["labels"].tolist() == [3, CLASSES.index("person")]
    with pytest.raises(ValueError, match="years must be one of '2007', '2012', '07\\+12'"):
        datamodules.VOC(years="2008")


def test_coco_has_its_own_validation_images(build):
    data = build("COCO")
    assert data.classes == ("car", "toothbrush") and len(data.val_indices) == 5 and data.test_set is None
    objects = data.train_set.objects
    assert objects[0]["boxes"].shape == (0, 4) and objects[0]["labels"].dtype == torch.int64
    assert len(objects[1]["labels"]) == 1  # the box without area is gone
    assert objects[1]["labels"].tolist() == [1] and objects[3]["iscrowd"].tolist() == [1]
    assert data.class_counts.sum() == sum(len(o["labels"]) for o in objects)


def test_letterbox_of_a_tall_picture():
    target = {"boxes": torch.tensor([[0.0, 10.0, 5.0, 30.0]]), "labels": torch.tensor([2])}
    image, moved = letterbox(torch.full((3, 40, 10), 7, dtype=torch.uint8), target, 20)
    assert image.shape == (3, 20, 20) and (image[:, :, :5] == 7).all() and (image[:, :, 5:] == 114).all()
    assert moved["boxes"].tolist() == [[0, 5, 2.5, 15]] and moved["labels"] is target["labels"]


def test_boxes_of_shapes_by_hand():
    """A shape of 4 x 2, one of 2 x 2 before its corner, and one of 4 pixels of which one is to be seen (a quarter)."""
    there = torch.zeros(1, 3, 6, 8, dtype=torch.bool)
    there[0, 0, 1:3, 2:6], there[0, 1, 2:4, 5:7], there[0, 2, 4:6, 0:2] = True, True, True
    rank = torch.zeros(1, 6, 8, dtype=torch.int64)
    rank[0, 1:3, 2:6], rank[0, 2:4, 5:7], rank[0, 5, 1] = 1, 2, 3
    drawn = Scene(None, there, rank, torch.tensor([[3, 1, 2]]), torch.tensor([3]))
    (target,) = boxes_of(drawn)
    assert target["boxes"].tolist() == [[2, 1, 6, 3], [5, 2, 7, 4], [1, 5, 2, 6]]
    assert target["labels"].tolist() == [2, 0, 1]
    rank[0, 5, 1], there[0, 2, 3] = 3, True  # the same of more pixels: less than a quarter
    assert boxes_of(drawn)[0]["labels"].tolist() == [2, 0]


def test_shapes_with_boxes_are_those_with_masks():
    boxes, masks = (cls(images=6, test_images=2, image_size=32) for cls in (ShapeBoxes, datamodules.Shapes))
    boxes.setup(), masks.setup()
    assert np.array_equal(boxes.train_set.images, masks.train_set.images)
    for target, mask in zip(boxes.train_set.objects, masks.train_set.targets, strict=True):
        seen = (mask > 0).nonzero()
        low, high = target["boxes"][:, :2].amin(0), target["boxes"][:, 2:].amax(0)
        assert (seen.amin(0) <= low.flip(0)).all() and (seen.amax(0) + 1 >= high.flip(0)).all()


def test_a_sheet_shows_boxes():
    data = ShapeBoxes(images=20, image_size=24)
    figure = data.show_batch(4)
    assert sum(len(axis.lines) for axis in figure.axes) >= 4
