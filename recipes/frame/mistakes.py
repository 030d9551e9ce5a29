"""Show a classifier's mistakes: a confusion matrix with names and counts, and the worst mistakes as pictures."""

from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from datamodules import ImageData
from recipes.frame.report import has_test_images
from zoo.frame.classifier import Classifier
from zoo.frame.evaluating import evaluating
from zoo.frame.outputs import over_views

SHOWN = 12  # pictures of the worst mistakes
NAMED = 40  # largest number of classes whose names and counts are written


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


def confusion(found: Answers) -> Tensor:
    """Count images by true class (rows) and predicted class (columns): (K, K), int64."""
    k = found.probabilities.shape[1]
    return torch.bincount(found.targets * k + found.probabilities.argmax(1), minlength=k * k).view(k, k)


def draw_confusion(found: Answers, classes: tuple[str, ...], path: Path) -> None:
    """Draw the confusion matrix, with names and counts for at most 40 classes."""
    matrix = confusion(found)
    k = len(classes)
    side = max(4.0, min(0.35 * k + 2.5, 16.0))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
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
    figure.savefig(path, dpi=110)


def draw_worst(found: Answers, classes: tuple[str, ...], path: Path) -> None:
    """Draw the mistakes with the highest confidence."""
    figure = Figure(figsize=(12, 6.5), layout="constrained")
    grid = figure.subplots(2, SHOWN // 2, squeeze=False).flatten()
    for axes in grid:
        axes.axis("off")
    for axes, image, i in zip(grid, found.images, found.worst.tolist(), strict=False):
        low, high = image.amin(), image.amax()
        axes.imshow(((image - low) / (high - low).clamp(min=1e-6)).permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray")
        guess = int(found.probabilities[i].argmax())
        said = f"{classes[guess]} {found.probabilities[i, guess]:.0%}"
        axes.set_title(f"{said}\nnot {classes[int(found.targets[i])]}", size=9)
    figure.suptitle("Surest mistakes" if len(found.worst) else "No mistakes")
    figure.savefig(path, dpi=110)


def worst_pairs(found: Answers, classes: tuple[str, ...], count: int = 3) -> list[str]:
    """Write the most frequent confusions: "cat taken for dog (7 of 50)"."""
    matrix = confusion(found)
    totals = matrix.sum(1)
    off = matrix.clone().fill_diagonal_(0)
    values, at = off.flatten().topk(min(count, off.numel()))
    pairs = [(v, *divmod(i, len(classes))) for v, i in zip(values.tolist(), at.tolist(), strict=True) if v]
    return [f"{classes[i]} taken for {classes[j]} ({v} of {int(totals[i])})" for v, i, j in pairs]
