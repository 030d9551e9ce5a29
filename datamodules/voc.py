"""Pascal VOC: 20 classes of things in photographs, with boxes.

Paper: The PASCAL Visual Object Classes (VOC) Challenge (Everingham et al.; IJCV 2010)
       https://doi.org/10.1007/s11263-009-0275-4
Files: `<root>/VOCdevkit/VOC<year>` as the archives of http://host.robots.ox.ac.uk/pascal/VOC/ unpack, and as
       `torchvision.datasets.VOCDetection(root, download=True)` leaves them
"""

from pathlib import Path
from typing import Any, Unpack
from xml.etree import ElementTree

import torch
from torchvision.datasets import VOCDetection

from datamodules.frame.boxes import IMAGENET, BoxData, FileBoxes, Target
from datamodules.frame.options import ImageOptions

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


class VOC(BoxData):
    """Pascal VOC: trains on trainval of some years, tests on test of 2007, as is usual.

    Pictures are made square: the long side has `image_size` pixels, the rest is grey. Objects that are marked as
    difficult neither count nor harm (`"iscrowd"`). The scores are COCO's: VOC's own AP counts in another way.

    Args:
        root: the folder of `VOCdevkit`.
        batch_size: images per batch and process.
        years: of the training images, "2007", "2012" or "07+12".
        image_size: side of the images in pixels.
        options: `val_split`, `fraction`, `num_workers`, ... as in `ImageData`.

    Raises:
        ValueError: other years.
    """

    classes = CLASSES
    mean, std = IMAGENET

    def __init__(
        self,
        root: str | Path = "data",
        batch_size: int = 16,
        *,
        years: str = "07+12",
        image_size: int = 512,
        **options: Unpack[ImageOptions],
    ):
        super().__init__(batch_size, **options)
        if years not in YEARS:
            raise ValueError(f"VOC: years must be one of {', '.join(map(repr, YEARS))}, got {years!r}")
        self.root, self.years, self.image_size = Path(root), years, image_size

    def image_set(self, part: str) -> FileBoxes | None:
        """Return the images and boxes of "train" or "test"; None without the test images."""
        if part == "val" or (part == "test" and not (self.root / "VOCdevkit/VOC2007/ImageSets/Main/test.txt").exists()):
            return None
        sources = [("2007", "test")] if part == "test" else [(year, "trainval") for year in YEARS[self.years]]
        paths, objects = [], []
        for year, name in sources:
            found = VOCDetection(self.root, year, name)
            paths += found.images
            objects += [read(ElementTree.parse(file).getroot()) for file in found.annotations]
        return FileBoxes(paths, objects, self.image_size)


YEARS = {"2007": ("2007",), "2012": ("2012",), "07+12": ("2007", "2012")}


def read(root: Any) -> Target:
    """Return the objects of an annotation; in VOC's files, pixels are counted from 1."""
    objects = VOCDetection.parse_voc_xml(root)["annotation"].get("object", [])
    corners = [[float(thing["bndbox"][name]) for name in ("xmin", "ymin", "xmax", "ymax")] for thing in objects]
    first = torch.tensor([1.0, 1.0, 0.0, 0.0])  # the last pixel is inside
    return {
        "boxes": torch.tensor(corners).reshape(-1, 4) - first,
        "labels": torch.tensor([CLASSES.index(thing["name"]) for thing in objects], dtype=torch.int64),
        "iscrowd": torch.tensor([int(thing["difficult"]) for thing in objects], dtype=torch.int64),
    }
