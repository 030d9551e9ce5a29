"""Loss and accuracy: cheap sums while training, torchmetrics in evaluation."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

TOP5_FROM = 6  # with five classes or fewer, every prediction is among the best five


class Scores:
    """Loss, top-1 and (where K > 5) top-5 accuracy of an evaluation, exact under DDP with uneven ranks.

    torchmetrics inside: it sums counts over the ranks, where an average of the ranks' averages would be wrong.

    Args:
        num_classes: K.
        device: where the logits will be.
    """

    def __init__(self, num_classes: int, device: torch.device):
        def accuracy(k: int) -> MulticlassAccuracy:
            return MulticlassAccuracy(num_classes, top_k=k, average="micro", validate_args=False)

        metrics = {"loss": MeanMetric(), "acc": accuracy(1)}
        if num_classes >= TOP5_FROM:
            metrics["top5"] = accuracy(5)
        self.metrics = {name: metric.to(device) for name, metric in metrics.items()}

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Adds a batch: logits (N, K), targets (N,)."""
        logits = logits.float()
        for name, metric in self.metrics.items():
            if name == "loss":
                metric.update(F.cross_entropy(logits, targets), len(targets))
            else:
                metric.update(logits, targets)

    def compute(self) -> dict[str, Tensor]:
        """`{"loss", "acc", "top5"}` over all batches and ranks; starts afresh."""
        values = {name: metric.compute() for name, metric in self.metrics.items()}
        for metric in self.metrics.values():
            metric.reset()
        return values


class RunningMean:
    """Mean loss and accuracy of training batches, kept on the device and read only when they are logged.

    Two `self.log` calls a step cost 470 us, this 50 (a linear network, one CPU thread): the reason that it exists.
    Accuracy is counted apart for hard targets and for mixed ones, where it is the probability that the target gives
    to the predicted class: lam if the prediction is one of the pair, 1 - lam if it is the other.
    """

    def __init__(self):
        self.loss, self.hits, self.counts = 0, [0, 0], [0, 0]  # sums over images; hits and counts: hard, mixed targets

    @torch.no_grad()
    def update(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Adds a batch: logits (N, K), targets (N,) or (N, K)."""
        n, mixed = len(targets), targets.is_floating_point()
        best = logits.argmax(1)
        hits = targets.gather(1, best[:, None]).sum(dtype=torch.float32) if mixed else (best == targets).sum()
        self.loss = self.loss + loss.float() * n
        self.hits[mixed] = self.hits[mixed] + hits
        self.counts[mixed] += n

    def merge(self, other: "RunningMean") -> None:
        """Adds another one's sums."""
        self.loss = self.loss + other.loss
        self.hits = [a + b for a, b in zip(self.hits, other.hits, strict=True)]
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]

    def compute(self, reduce) -> dict[str, Tensor]:
        """`{"loss", "acc", "acc_mixed"}`, the last two where such targets were seen. `reduce` sums over ranks."""
        sums = torch.stack([self.loss, *(torch.zeros_like(self.loss) + hits for hits in self.hits)])
        loss, hits, mixed_hits, n, n_mixed = reduce(torch.cat([sums, sums.new_tensor(self.counts)]))
        values = {"loss": loss / (n + n_mixed)}
        if self.counts[0]:
            values["acc"] = hits / n
        if self.counts[1]:
            values["acc_mixed"] = mixed_hits / n_mixed
        return values
