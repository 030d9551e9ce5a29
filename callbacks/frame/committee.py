"""A committee of a generalist and specialists for some of its classes, and its combined prediction."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.frame.checks import classes_of


def split(classes: Sequence[int], num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the special classes S (|S|,) and the others (K - |S|,), int64, ascending.

    Raises:
        ValueError: for a class outside 0 to K - 1, for no class and for all classes.
    """
    if not classes or not 0 <= min(classes) <= max(classes) < num_classes or len(set(classes)) == num_classes:
        raise ValueError(f"a specialist needs some of the classes 0 to {num_classes - 1}, and not all, got {classes}")
    return torch.tensor(sorted({*classes})), torch.tensor(sorted({*range(num_classes)} - {*classes}))


def group(z: Tensor, special: Tensor, rest: Tensor) -> Tensor:
    """Join all classes outside S to one "dustbin" class: its logit is log sum_{k not in S} exp z_k.

    Args:
        z: logits or log-probabilities (N, K).
        special, rest: the classes in S (|S|,) and the others (K - |S|,).

    Returns:
        Logits (N, |S| + 1), the dustbin last.
    """
    return torch.cat([z[:, special], z[:, rest].logsumexp(1, keepdim=True)], 1)


class Opinion(NamedTuple):
    """The prediction of one specialist."""

    rows: Tensor  # (n,) the images that it has seen
    special: Tensor  # (|S|,) its classes
    rest: Tensor  # (K - |S|,) the other classes
    p: Tensor  # (n, |S| + 1) its probabilities, the dustbin last


@torch.no_grad()
def combine(
    generalist: nn.Module,
    specialists: Sequence[tuple[nn.Module, Sequence[int]]],
    images: Tensor,
    n: int = 1,
    steps: int = 100,
) -> Tensor:
    """Combine the generalist with the specialists for its most probable classes.

    Args:
        generalist: images -> logits (N, K), in eval mode like the specialists.
        specialists: networks with their classes: `[(model, trick.classes), ...]`. Each sees only the images for which
            one of the n most probable classes is its own.
        images: (N, C, H, W).
        n: number of most probable classes of the generalist whose specialists are asked.
        steps: of gradient descent.

    Returns:
        Probabilities q (N, K).
    """
    log_p = generalist(images).float().log_softmax(1)
    guesses, opinions = log_p.topk(n, 1).indices, []
    for network, classes in specialists:
        special, rest = (part.to(log_p.device) for part in split(classes, log_p.shape[1]))
        rows = torch.isin(guesses, special).any(1).nonzero()[:, 0]
        if len(rows):
            p = group(network(images[rows]).float(), special, rest).softmax(1)
            opinions.append(Opinion(rows, special, rest, p))
    return minimise(log_p, opinions, steps)


def minimise(log_p: Tensor, opinions: Sequence[Opinion], steps: int) -> Tensor:
    """Return q (N, K) that minimises KL(p || q) + sum_m KL(p_m || q grouped by S_m).

    Gradient descent on the logits of q. With A distributions for an image (the generalist's and the opinions), the step
    size 2 / A makes the sum smaller at every step, because the second derivative of logsumexp is at most 1/2.

    Args:
        log_p: log-probabilities of the generalist (N, K).
        opinions: of the specialists.
        steps: of gradient descent.
    """
    z, count = log_p.clone(), torch.ones_like(log_p[:, :1])
    for rows, *_ in opinions:
        count[rows] += 1
    for _ in range(steps):
        q, target = z.softmax(1), log_p.exp()  # the gradient is A q - target
        for rows, special, rest, p in opinions:
            others = q[rows][:, rest]
            spread = torch.zeros_like(q[rows])
            spread[:, special] = p[:, :-1]
            spread[:, rest] = p[:, -1:] * others / others.sum(1, keepdim=True).clamp(min=1e-30)
            target[rows] += spread
        z -= 2 * (q - target / count)
    return z.softmax(1)


class Committee(nn.Module):
    """`combine` as a network: `Trainer.test(zoo.Classifier(Committee(generalist, specialists)), data)`.

    Args:
        generalist: images -> logits (N, K).
        specialists: networks with their classes: `[(model, trick.classes), ...]`.
        n: number of most probable classes of the generalist whose specialists are asked.
    """

    def __init__(self, generalist: nn.Module, specialists: Sequence[tuple[nn.Module, Sequence[int]]], n: int = 1):
        super().__init__()
        self.num_classes, self.n = classes_of(generalist), n
        self.generalist = generalist
        self.specialists = nn.ModuleList(network for network, _ in specialists)
        self.classes = [tuple(classes) for _, classes in specialists]

    def forward(self, images: Tensor) -> Tensor:
        """Return log q (N, K), whose softmax is q, of images (N, C, H, W)."""
        together = zip(self.specialists, self.classes, strict=True)
        return combine(self.generalist, [*together], images, self.n).log()
