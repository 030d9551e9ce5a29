"""COCO: 80 classes of common things in photographs, with boxes.

Paper: Microsoft COCO: Common Objects in Context (Lin et al.; ECCV 2014) https://arxiv.org/abs/1405.0312
Files: `<root>/train2017`, `<root>/val2017` and `<root>/annotations/instances_{train,val}2017.json`, as the archives of
       https://cocodataset.org unpack; read by `torchvision.datasets.CocoDetection`, which needs pycocotools
"""

import contextlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Unpack

import torch
from torchvision.datasets import CocoDetection

from datamodules.frame.boxes import IMAGENET, BoxData, FileBoxes, Target
from datamodules.frame.options import ImageOptions


class COCO(BoxData):
    """COCO 2017: trains on train2017 and validates on val2017; the test images have no public boxes.

    Pictures are made square: the long side has `image_size` pixels, the rest is grey. Crowds neither count nor harm
    (`"iscrowd"`), and boxes without area are left out. Classes are those of the annotations, in the order of their
    numbers, and are known after `setup`.

    Args:
        root: the folder of images and annotations.
        batch_size: images per batch and process.
        image_size: side of the images in pixels.
        options: `fraction`, `num_workers`, ... as in `ImageData`.

    Raises:
        ModuleNotFoundError: pycocotools is missing; says what to install.
    """

    classes: tuple[str, ...] = ()
    mean, std = IMAGENET

    def __init__(
        self,
        root: str | Path = "data/coco",
        batch_size: int = 16,
        *,
        image_size: int = 640,
        **options: Unpack[ImageOptions],
    ):
        super().__init__(batch_size, **options)
        if find_spec("pycocotools") is None:
            raise ModuleNotFoundError("COCO's annotations need pycocotools: pip install 'lightning-zoo[detection]'")
        self.root, self.image_size = Path(root), image_size

    def image_set(self, part: str) -> FileBoxes | None:
        """Return the images and boxes of "train" or "val"."""
        if part == "test":
            return None
        name = f"{part}2017"
        with contextlib.redirect_stdout(io.StringIO()):  # the reader tells how long it takes
            found = CocoDetection(self.root / name, self.root / "annotations" / f"instances_{name}.json")
        numbers = sorted(found.coco.cats)
        self.classes = tuple(found.coco.cats[number]["name"] for number in numbers)
        label = {number: i for i, number in enumerate(numbers)}
        objects = [read(found.coco.imgToAnns[image], label) for image in found.ids]
        paths = [self.root / name / found.coco.imgs[image]["file_name"] for image in found.ids]
        return FileBoxes(paths, objects, self.image_size)


def read(annotations: list[dict[str, Any]], label: dict[int, int]) -> Target:
    """Return the objects of an image; in COCO's files a box is x, y, width, height. `label`: category -> [0, K)."""
    things = [thing for thing in annotations if min(thing["bbox"][2:]) > 0]
    corner, size = torch.tensor([thing["bbox"] for thing in things]).reshape(-1, 2, 2).float().unbind(1)
    return {
        "boxes": torch.cat([corner, corner + size], 1),
        "labels": torch.tensor([label[thing["category_id"]] for thing in things], dtype=torch.int64),
        "iscrowd": torch.tensor([thing["iscrowd"] for thing in things], dtype=torch.int64),
    }
