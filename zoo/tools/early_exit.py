"""Early exits of a cascade: confidences, thresholds, and the search for thresholds within a budget.

Paper:    Not All Images are Worth 16x16 Words: Dynamic Transformers for Efficient Image Recognition (Wang, Huang, Song,
          Huang, Huang; NeurIPS 2021) https://arxiv.org/abs/2105.15075, section 3.2
Code:     https://github.com/blackfeather-wang/Dynamic-Vision-Transformer at 22cc895 (the authors'), whose search this
          is
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def confidences(logits: Tensor) -> Tensor:
    """Return the largest probability: logits (..., K) -> (...)."""
    return logits.float().softmax(-1).amax(-1)


def choose_exits(sure: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Return the first exit at which each image's confidence reaches the threshold; else the last exit.

    Args:
        sure: confidences (E, N).
        thresholds: E, one for each exit; the last is ignored.

    Returns:
        Exits (N,), counted from 0.
    """
    enough = sure >= torch.tensor(thresholds, device=sure.device)[:, None]
    enough[-1] = True
    return enough.int().argmax(0)


def thresholds_for(sure: Tensor, fractions: Sequence[float]) -> list[float]:
    """Return thresholds at which floor(fraction N) of N images leave at each exit but the last.

    Args:
        sure: confidences (E, N).
        fractions: of the images, E, with sum 1.

    Returns:
        E thresholds; infinity at an exit where no image leaves.
    """
    gone, thresholds = torch.zeros_like(sure[0], dtype=torch.bool), []
    for of_exit, fraction in zip(sure[:-1], fractions, strict=False):
        count = math.floor(fraction * len(gone))
        left = of_exit[~gone].sort(descending=True).values
        thresholds.append(left[count - 1].item() if 0 < count <= len(left) else math.inf)
        gone |= of_exit >= thresholds[-1]
    return [*thresholds, 0.0]


def search_thresholds(logits: Tensor, macs: Sequence[int], budget: float, targets: Tensor | None = None) -> list[float]:
    """Search for thresholds within a budget, as the authors' code does.

    It tries 59 ways to divide the images among the exits: fractions proportional to p^k at exit k, p = 1/20 ... 59/20.

    Args:
        logits: of all exits (E, N, K), `torch.stack(model.exits(images))`.
        macs: multiply-adds of an image that leaves at each exit, E, as `model.macs()`.
        budget: upper limit of the mean multiply-adds of an image.
        targets: (N,): return the most accurate thresholds within the budget. None: the most expensive ones.

    Returns:
        Thresholds, one for each exit, for `early_exit`.

    Raises:
        ValueError: no thresholds are within the budget; the error says what the cheapest cost.
    """
    sure, classes, cost = confidences(logits), logits.argmax(-1), torch.tensor(macs, dtype=torch.float64)
    ways = []
    for p in range(1, 60):
        fractions = torch.tensor([(p / 20) ** k for k in range(1, len(macs) + 1)])
        thresholds = thresholds_for(sure, (fractions / fractions.sum()).tolist())
        exits = choose_exits(sure, thresholds)
        mean = cost.to(exits.device)[exits].mean().item()
        score = mean if targets is None else (classes.gather(0, exits[None])[0] == targets).float().mean().item()
        ways.append((score, -mean, thresholds))
    affordable = [way for way in ways if -way[1] <= budget]
    if not affordable:
        cheapest = min(-mean for _, mean, _ in ways)
        raise ValueError(
            f"budget={budget:.4g} is less than the {cheapest:.4g} multiply-adds of the cheapest thresholds"
        )
    return max(affordable)[2]
