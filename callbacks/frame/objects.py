"""The objects of a batch of images, all boxes in one tensor: for tricks that move boxes.

Targets of `zoo.Detector` are a list of dicts, one an image, each entry with one row an object: `"boxes"` (n, 4) as x1,
y1, x2, y2 in pixels, `"labels"` (n,), perhaps more. `join` puts them together, `split` takes them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

LEAST, SHARE = 2.0, 0.1  # of a box that was cut: its sides in pixels and its share of the area


@dataclass(frozen=True)
class Objects:
    """All objects of a batch.

    Attributes:
        boxes: (M, 4) as x1, y1, x2, y2 in pixels.
        image: (M,) int64, which image of the batch each is in.
        more: the other entries, (M, ...) each, by name.
    """

    boxes: Tensor
    image: Tensor
    more: dict[str, Tensor]

    def at(self, index: Tensor) -> "Objects":
        """Return those at an index or under a mask (M,)."""
        return Objects(self.boxes[index], self.image[index], {name: x[index] for name, x in self.more.items()})

    def cut(self, low: Tensor, high: Tensor) -> "Objects":
        """Cut every box at a rectangle, and keep those of which enough is left.

        Args:
            low, high: (M, 2) or (2,): x and y of the rectangle's corners, in pixels.
        """
        clipped = torch.cat([torch.maximum(self.boxes[:, :2], low), torch.minimum(self.boxes[:, 2:], high)], 1)
        whole, left = (box[:, 2:] - box[:, :2] for box in (self.boxes, clipped))
        keep = (left > LEAST).all(1) & (left.prod(1) > SHARE * whole.prod(1))
        keep |= (clipped == self.boxes).all(1)  # a box that was not cut may be small
        return replace(self, boxes=clipped).at(keep)


def join(targets: Sequence[dict[str, Tensor]]) -> Objects:
    """Put the objects of a batch's images together: the entries that all targets have."""
    names = [name for name in targets[0] if name != "boxes" and all(name in target for target in targets)]
    boxes = torch.cat([target["boxes"] for target in targets])
    image = torch.cat([target["labels"].new_full((len(target["labels"]),), i) for i, target in enumerate(targets)])
    return Objects(boxes, image, {name: torch.cat([target[name] for target in targets]) for name in names})


def split(objects: Objects, images: int, counts: list[int] | None = None) -> list[dict[str, Tensor]]:
    """Return the targets of images; within an image, objects keep their order.

    Args:
        objects: of them.
        images: their number.
        counts: objects of each image, where they are known; None: they are read, for which the host waits for a GPU.
    """
    order = objects.image.argsort(stable=True)
    counts = objects.image.bincount(minlength=images).tolist() if counts is None else counts
    parts = {"boxes": objects.boxes, **objects.more}
    columns = {name: part[order].split(counts) for name, part in parts.items()}
    return [{name: column[i] for name, column in columns.items()} for i in range(images)]


def together(*parts: Objects) -> Objects:
    """Return the objects of several in one."""
    more = {name: torch.cat([part.more[name] for part in parts]) for name in parts[0].more}
    return Objects(torch.cat([part.boxes for part in parts]), torch.cat([part.image for part in parts]), more)


def are_boxes(targets: Any) -> bool:
    """Return whether the targets of a batch are boxes."""
    return isinstance(targets, list)


def scale_boxes(targets: Sequence[dict[str, Tensor]], across: float, down: float) -> list[dict[str, Tensor]]:
    """Return targets whose boxes are `across` times as wide and `down` times as high, measured from the corner."""
    return [{**t, "boxes": t["boxes"] * t["boxes"].new_tensor([across, down, across, down])} for t in targets]
