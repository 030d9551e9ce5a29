"""Loss and accuracy: cheap sums while training, torchmetrics in evaluation."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MultilabelAccuracy,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)

from zoo.frame.labels import loss_of

TOP5_FROM = 6  # with five classes or fewer, top-5 is always 1


class MeanLoss(Metric):
    """Mean over the samples of all batches and ranks. Unlike torchmetrics', it does not read each batch to drop NaN."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "count"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, loss: Tensor, n: int) -> None:
        """Add the mean loss of n samples; NaN shows in the mean of all."""
        self.total += loss * n
        self.count += n

    def compute(self) -> Tensor:
        return self.total / self.count


class Scores:
    """Loss, top-1 and (if K > 5) top-5 accuracy of an evaluation, exact under DDP with uneven ranks.

    It uses torchmetrics, which sums counts over the ranks: the average of the ranks' averages would be wrong.

    Args:
        num_classes: K.
        device: device of the logits.
        masks: targets have a class for each pixel: compute Dice and IoU of each class, over all pixels, and their mean.
        loaders: number of data loaders, each with scores of its own.
        multi_label: several labels an image: compute the fraction of correct decisions, mAP and F1, averaged over
            classes.
    """

    def __init__(
        self,
        num_classes: int,
        device: torch.device,
        masks: bool = False,
        loaders: int = 1,
        multi_label: bool = False,
    ):
        make = _multi_label_metrics if multi_label else partial(_metrics, masks=masks)
        self.multi_label = multi_label
        self.metrics = [make(num_classes, device) for _ in range(loaders)]

    def update(self, logits: Tensor, targets: Tensor, loader: int = 0) -> None:
        """Add a batch of a loader: logits (N, K), targets (N,); or logits (N, K, H, W), masks (N, H, W).

        Targets may be probabilities (N, K) or (N, K, H, W): all scores but the loss then take the most probable class.
        """
        logits = logits.float()
        if self.multi_label:
            predicted, wanted = logits.sigmoid(), (targets > 0.5).long()
        else:
            predicted, wanted = logits, targets.argmax(1) if targets.is_floating_point() else targets
        for name, metric in self.metrics[loader].items():
            if name == "loss":
                metric.update(loss_of(logits, targets, self.multi_label), len(targets))
            else:
                metric.update(predicted, wanted)

    def compute(self) -> dict[str, Tensor]:
        """Return the scores over all batches and ranks, then reset.

        Returns:
            `{"loss", "acc", "top5"}`, or "dice" and "iou" for "top5", of the first loader; those of the next have
            Lightning's suffix: "loss/dataloader_idx_1".
        """
        values = {}
        for loader, metrics in enumerate(self.metrics):
            for name, metric in metrics.items():
                values[f"{name}/dataloader_idx_{loader}" if loader else name] = metric.compute()
                metric.reset()
        return values


def with_suffix(name: str, suffix: str) -> str:
    """Add a suffix to a score's name: "acc" -> "acc_ema"; for a second loader, "acc_ema/dataloader_idx_1"."""
    head, slash, loader = name.partition("/dataloader_idx_")
    return f"{head}_{suffix}{slash}{loader}"


def confusions(logits: Tensor, targets: Tensor) -> Tensor:
    """Count the pixels of each class that are taken for each. torchmetrics' `bincount` makes a GPU wait.

    Args:
        logits: (N, K, H, W).
        targets: classes (N, H, W).

    Returns:
        (K, K) int64, a row for each class of the targets.
    """
    k = logits.shape[1]
    pairs = (targets * k + logits.argmax(1)).flatten()
    return pairs.new_zeros(k * k).scatter_add_(0, pairs, torch.ones_like(pairs)).view(k, k)


class Dice(MulticlassF1Score):
    """Dice's coefficient of each class over all pixels, and their mean: F1 by another name."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        counts = confusions(preds, target)
        hits = counts.diag()
        false, missed = counts.sum(0) - hits, counts.sum(1) - hits
        self._update_state(hits, false, counts.sum() - hits - false - missed, missed)


class IoU(MulticlassJaccardIndex):
    """Intersection over union of each class over all pixels, and their mean."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.confmat += confusions(preds, target)


def _metrics(num_classes: int, device: torch.device, masks: bool) -> dict[str, Metric]:
    def accuracy(k: int) -> MulticlassAccuracy:
        return MulticlassAccuracy(num_classes, top_k=k, average="micro", validate_args=False)

    metrics: dict[str, Metric] = {"loss": MeanLoss(), "acc": accuracy(1)}
    if masks:
        metrics["dice"] = Dice(num_classes, validate_args=False)
        metrics["iou"] = IoU(num_classes, validate_args=False)
    elif num_classes >= TOP5_FROM:
        metrics["top5"] = accuracy(5)
    return {name: metric.to(device) for name, metric in metrics.items()}


def _multi_label_metrics(num_classes: int, device: torch.device) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {
        "loss": MeanLoss(),
        "acc": MultilabelAccuracy(num_classes, average="micro", validate_args=False),
        "mAP": MultilabelAveragePrecision(num_classes, validate_args=False),
        "f1": MultilabelF1Score(num_classes, validate_args=False),
    }
    return {name: metric.to(device) for name, metric in metrics.items()}


Batch = tuple[Tensor, Tensor, int]  # loss, hits, n


class RunningMean:
    """Mean loss and accuracy of training batches, kept on the device until they are logged.

    It exists because two `self.log` calls a step cost 470 us, and this 50 (a linear network, one CPU thread). Hard and
    mixed targets have separate accuracies. For mixed targets, it is the target's probability of the predicted class:
    lam if the prediction is one of the pair, 1 - lam if it is the other.
    """

    def __init__(self) -> None:
        self.batches: tuple[list[Batch], list[Batch]] = ([], [])  # of hard targets, of mixed ones

    def __bool__(self) -> bool:
        return any(self.batches)

    @torch.no_grad()
    def update(self, loss: Tensor, logits: Tensor, targets: Tensor, multi_label: bool = False) -> None:
        """Add a batch: logits (N, K), targets (N,) or (N, K). `compute` forms the sums: fewer operations a step.

        With several labels, a hit is the fraction of an image's K decisions that are correct.
        """
        if multi_label:
            hits = ((logits > 0) == (targets > 0.5)).float().mean(1).sum()
            self.batches[0].append((loss.detach(), hits, len(targets)))
            return
        mixed, best = targets.is_floating_point(), logits.argmax(1)
        hits = targets.gather(1, best[:, None]).sum(dtype=torch.float32) if mixed else (best == targets).sum()
        self.batches[mixed].append((loss.detach(), hits, best.numel()))  # images, or pixels

    def merge(self, other: "RunningMean") -> None:
        """Add the batches of another mean."""
        for mine, theirs in zip(self.batches, other.batches, strict=True):
            mine += theirs

    def compute(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """`{"loss", "acc", "acc_mixed"}`, the last two where such targets were seen. `reduce` sums over ranks."""
        device = next(batch[0].device for batches in self.batches for batch in batches)
        sums = reduce(torch.stack([_sums(batches, device) for batches in self.batches]))  # (hard or mixed, 3)
        values = {"loss": sums[:, 0].sum() / sums[:, 2].sum()}
        if self.batches[0]:
            values["acc"] = sums[0, 1] / sums[0, 2]
        if self.batches[1]:
            values["acc_mixed"] = sums[1, 1] / sums[1, 2]
        return values


def _sums(batches: list[Batch], device: torch.device) -> Tensor:
    """Sum (loss, hits, n) of each batch over images or pixels, (3,) float32."""
    if not batches:
        return torch.zeros(3, device=device)
    losses, hits, counts = zip(*batches, strict=True)
    n = torch.tensor(counts, device=device, dtype=torch.float32)
    return torch.stack([(torch.stack(losses).float() * n).sum(), torch.stack(hits).float().sum(), n.sum()])
