"""Show a classifier's mistakes: confusion matrix, reliability diagram, and the worst mistakes as pictures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from datamodules import ImageData
from recipes.frame.report import has_test_images
from zoo.frame.classifier import Classifier
from zoo.frame.evaluation import evaluating
from zoo.frame.figures import WITH, WITHOUT, use_style
from zoo.frame.outputs import over_views
from zoo.frame.shown_figure import ShownFigure

SHOWN = 12  # pictures of the worst mistakes
BINS = 10  # of a reliability diagram
NAMED = 40  # largest number of classes whose names and counts are written
COUNTED = 2000  # largest number of classes whose confusions are counted in every run: a matrix of 32 MB


class Answers(NamedTuple):
    """A model's answers for the test images, or for the validation images if there are none.

    Attributes:
        probabilities: (n, K), on the CPU.
        targets: (n,).
        images: (m, C, S, S), normalised: those with the largest errors, the worst first.
        worst: (m,), their indices.
    """

    probabilities: Tensor
    targets: Tensor
    images: Tensor
    worst: Tensor


@torch.inference_mode()
def answers(model: Classifier, data: ImageData) -> Answers:
    """Classify the test images, or the validation images if there are none."""
    loader = data.test_dataloader() if has_test_images(data) else data.val_dataloader()
    outputs, targets, images = [], [], []
    with evaluating(model):
        for batch in loader:
            x, y = data.on_after_batch_transfer([t.to(model.device) for t in batch], 0)
            outputs.append(over_views(model, x).float().softmax(1).cpu())
            targets.append(y.cpu())
            images.append((x[:, 0] if x.ndim == 5 else x).cpu())
    probabilities, truth, pictures = torch.cat(outputs), torch.cat(targets), torch.cat(images)
    wrong = (probabilities.argmax(1) != truth).nonzero().flatten()
    worst = wrong[probabilities[wrong].max(1).values.argsort(descending=True)][:SHOWN]
    return Answers(probabilities, truth, pictures[worst], worst)


class Confusions(L.Callback):
    """Count the confusions of the last evaluation, validation or test, over all processes.

    A model of the zoo returns an evaluated batch's logits from its step. Masks and several labels an image are left
    out.

    Attributes:
        matrix: images by true class (rows) and predicted class (columns), (K, K), int64; None: nothing was counted.
    """

    matrix: Tensor | None = None

    def _begin(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.matrix = None
        several = getattr(pl_module, "masks", False) or getattr(pl_module, "multi_label", False)
        k = pl_module.num_classes if isinstance(pl_module, Classifier) and not several else COUNTED + 1
        if k <= COUNTED and not trainer.sanity_checking:  # on every process, even one without images: they add up
            self.matrix = torch.zeros(k, k, dtype=torch.int64, device=pl_module.device)

    def _count(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.matrix is not None and isinstance(outputs, Tensor) and not dataloader_idx and batch[1].ndim == 1:
            self.matrix += confusion(outputs, batch[1])

    def _end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.matrix is not None:
            total = trainer.strategy.reduce(self.matrix, reduce_op="sum")
            assert isinstance(total, Tensor)
            self.matrix = total.cpu() if total.any() else None

    on_validation_epoch_start = on_test_epoch_start = _begin
    on_validation_batch_end = on_test_batch_end = _count
    on_validation_epoch_end = on_test_epoch_end = _end


def confusion(outputs: Tensor, targets: Tensor) -> Tensor:
    """Count images by true class (rows) and predicted class (columns): (K, K), int64.

    Args:
        outputs: logits or probabilities (N, K).
        targets: classes (N,).
    """
    k = outputs.shape[1]
    counts = torch.zeros(k * k, dtype=torch.int64, device=outputs.device)
    pairs = targets * k + outputs.argmax(1)
    return counts.scatter_add_(0, pairs, torch.ones_like(pairs)).view(k, k)  # bincount would wait for a GPU


@use_style
def draw_confusion(found: Answers, classes: tuple[str, ...]) -> ShownFigure:
    """Draw the confusion matrix, with names and counts for at most 40 classes."""
    matrix = confusion(found.probabilities, found.targets)
    k = len(classes)
    side = max(4.0, min(0.35 * k + 2.5, 16.0))
    figure = ShownFigure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.imshow((matrix / matrix.sum(1, keepdim=True).clamp(min=1)).numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title=f"{matrix.diag().sum()} of {matrix.sum()} right")
    if k <= NAMED:
        axes.set_xticks(range(k), classes, rotation=90)
        axes.set_yticks(range(k), classes)
        for i, j in matrix.nonzero().tolist():
            dark = matrix[i, j] > 0.5 * matrix[i].sum()
            axes.text(
                j, i, str(int(matrix[i, j])), ha="center", va="center", color="white" if dark else "black", size=7
            )
    return figure


class Reliability(NamedTuple):
    """Confidence and accuracy of the images in each bin of confidence.

    Attributes:
        confidence: (bins,), mean of the largest probability; NaN without images.
        accuracy: (bins,), fraction of right answers; NaN without images.
        images: (bins,), their number, int64.
        error: expected calibration error: mean of |accuracy - confidence| over images.
    """

    confidence: Tensor
    accuracy: Tensor
    images: Tensor
    error: float


def reliability(found: Answers, bins: int = BINS) -> Reliability:
    """Compare confidence with accuracy, in bins of equal width over [0, 1].

    As in On Calibration of Modern Neural Networks (Guo et al.; ICML 2017) https://arxiv.org/abs/1706.04599, equation 3.
    """
    sure, guess = found.probabilities.float().max(1)
    index = (sure * bins).ceil().long().sub(1).clamp(0, bins - 1)  # a bin holds its upper end
    count = torch.bincount(index, minlength=bins)
    confidence = torch.bincount(index, sure.double(), minlength=bins) / count
    accuracy = torch.bincount(index, (guess == found.targets).double(), minlength=bins) / count
    gaps = (accuracy - confidence).abs().nan_to_num() * count
    return Reliability(confidence, accuracy, count, float(gaps.sum() / count.sum()))


@use_style
def draw_reliability(found: Answers) -> ShownFigure:
    """Draw the accuracy in each bin of confidence, with the number of its images."""
    measured = reliability(found)
    figure = ShownFigure(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    width = 1 / len(measured.images)
    for i in measured.images.nonzero().flatten().tolist():
        axes.bar((i + 0.5) * width, float(measured.accuracy[i]), width, color=WITH, edgecolor="white")
        axes.text((i + 0.5) * width, 0.02, str(int(measured.images[i])), ha="center", size=8)
    axes.plot([0, 1], [0, 1], "--", color=WITHOUT, label="as sure as right")
    axes.set(xlabel="confidence (numbers: images)", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"expected calibration error {measured.error:.3f}", size=10)
    axes.legend(loc="upper left", fontsize=8)
    return figure


@use_style
def draw_worst(found: Answers, classes: tuple[str, ...]) -> ShownFigure:
    """Draw the mistakes with the highest confidence."""
    rows = 1 + (len(found.worst) > SHOWN // 2)
    figure = ShownFigure(figsize=(12, 0.5 + 3 * rows), layout="constrained")
    grid = figure.subplots(rows, SHOWN // 2, squeeze=False).flatten()
    for axes in grid:
        axes.axis("off")
    for axes, image, i in zip(grid, found.images, found.worst.tolist(), strict=False):
        low, high = image.amin(), image.amax()
        axes.imshow(((image - low) / (high - low).clamp(min=1e-6)).permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray")
        guess = int(found.probabilities[i].argmax())
        said = f"{classes[guess]} {found.probabilities[i, guess]:.0%}"
        axes.set_title(f"{said}\nnot {classes[int(found.targets[i])]}", size=9)
    figure.suptitle("Surest mistakes" if len(found.worst) else "No mistakes")
    return figure


def worst_pairs(matrix: Tensor, classes: Sequence[str], count: int = 3) -> list[str]:
    """Write the most frequent confusions of a matrix (K, K): "cat taken for dog (7 of 50)"."""
    totals = matrix.sum(1)
    off = matrix.clone().fill_diagonal_(0)
    values, at = off.flatten().topk(min(count, off.numel()))
    pairs = [(v, *divmod(i, len(classes))) for v, i in zip(values.tolist(), at.tolist(), strict=True) if v]
    return [f"{classes[i]} taken for {classes[j]} ({v} of {int(totals[i])})" for v, i, j in pairs]
