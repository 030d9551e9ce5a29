"""Scores of detections: the mean loss in training, mean average precision in evaluation."""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from zoo.frame.scores import RunningMean

Boxes = dict[str, Tensor]
SHOWN = ("map", "map_50", "map_75")


class DetectionScores:
    """Mean average precision of an evaluation as COCO defines it, over all images of all processes.

    `map` is the mean over classes and IoU thresholds .5 to .95, `map_50` and `map_75` are at one threshold; all are in
    [0, 1], and -1 where there is nothing to find. Objects with `iscrowd` 1 neither count nor harm. At most 100
    detections an image count.

    Args:
        loaders: number of data loaders, each with scores of its own.

    Raises:
        ModuleNotFoundError: pycocotools is missing; says what to install.
    """

    def __init__(self, loaders: int = 1):
        if find_spec("pycocotools") is None:
            raise ModuleNotFoundError(
                "mean average precision needs pycocotools: pip install 'lightning-zoo[detection]'; or train without "
                "validation: Trainer(limit_val_batches=0)"
            )
        self.seen: list[list[tuple[Boxes, Boxes]]] = [[] for _ in range(loaders)]

    def update(self, detections: list[Boxes], targets: list[Boxes], loader: int = 0) -> None:
        """Add a batch: detections with boxes (n, 4), scores and labels (n,), targets with boxes and labels."""
        pairs = zip(detections, targets, strict=True)
        self.seen[loader] += [(on_cpu(found), on_cpu(target)) for found, target in pairs]

    def compute(self) -> dict[str, Tensor]:
        """Return the scores over all batches and processes, then forget them; as `Scores` names those of loaders."""
        values: dict[str, Tensor] = {}
        for loader, seen in enumerate(self.seen):
            pairs = [pair for part in gather(seen) for pair in part]
            metric = MeanAveragePrecision(backend="pycocotools", sync_on_compute=False)
            metric.warn_on_many_detections = False
            metric.update([found for found, _ in pairs], [target for _, target in pairs])
            found = metric.compute()
            values |= {f"{name}/dataloader_idx_{loader}" if loader else name: found[name] for name in SHOWN}
            seen.clear()
        return values


def on_cpu(boxes: Boxes) -> Boxes:
    """Return the boxes in CPU memory, numbers in float32."""
    return {name: (x.float() if x.is_floating_point() else x).detach().cpu() for name, x in boxes.items()}


def gather(seen: list[tuple[Boxes, Boxes]]) -> list[list[tuple[Boxes, Boxes]]]:
    """Return the lists of all processes, which may differ in length."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [seen]
    every: list[list[tuple[Boxes, Boxes]]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(every, seen)
    return every


class RunningLoss(RunningMean):
    """Mean loss of training batches over images, without an accuracy."""

    def update(self, loss: Tensor, logits: Tensor, targets: object, multi_label: bool = False) -> None:
        """Add the mean loss of a batch with one target an image."""
        assert isinstance(targets, list)
        self.batches[0].append((loss.detach(), torch.zeros_like(loss.detach()), len(targets)))

    def compute(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Return `{"loss"}`; `reduce` sums over ranks."""
        return {"loss": super().compute(reduce)["loss"]}
