"""Specialist: a copy of a generalist that learns to tell apart the few classes which that one confuses.

Paper:    Distilling the Knowledge in a Neural Network (Hinton, Vinyals, Dean; 2015) https://arxiv.org/abs/1503.02531,
          sections 5 and 6.1
Code:     none of the authors'; scikit-learn's k-means
Equation: special classes S, the rest are the dustbin: s(z) = (z_k for k in S, logsumexp_{k not in S} z_k - log r)
          L = sum_n w_n CE(y_n in S or dustbin, s(z_n)) / N + a T^2 KL(softmax(v / T) || softmax(z / T)), the KL over
          the classes not in S, v the generalist's logits; w_n such that images of S count for the share h of all, and
          r = [h / (1 - h)] / [f / (1 - f)] how much more often that is than their frequency f
          At test, over the specialists m of whose classes one is among the generalist's n most probable:
          q = argmin KL(p_g || q) + sum_m KL(p_m || q grouped by S_m), by gradient on q's logits
Shapes:   logits z, v (N, K) -> s (N, |S| + 1) -> scalar;   images (N, C, H, W) -> q (N, K)
Defaults: share = .5 (h) and n = 1, the paper's; weight = .5 (a), T = 4: ours. It starts from the generalist's weights
Differs:  weights instead of drawing half of each batch from S: the same in the mean. All K logits stay and are summed
          up for the dustbin, so that it starts as the generalist and can keep what that knows (section 6.1); r is taken
          off in training instead of added after it: the same function, and the network's own softmax is calibrated.
"""

import math
from collections.abc import Sequence

import lightning as L
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from callbacks.distillation.knowledge import soft_loss
from callbacks.frame.needs import Claims, NothingAddedBefore, Range
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.targets import probabilities
from callbacks.frame.teacher import Source, Taught, Teacher
from zoo import Step
from zoo.frame.checks import classes_of


def clusters(p: Tensor, M: int) -> list[tuple[int, ...]]:
    """Classes that are often predicted together: k-means on the columns of the predictions' covariance.

    Args:
        p: (N, K), the generalist's probabilities of many images.
        M: number of groups, at most K.

    Returns:
        M disjoint groups of classes, each ascending.
    """
    labels = KMeans(M, n_init=10, random_state=0).fit_predict(p.double().T.cov().cpu().numpy())
    return [tuple(k for k, label in enumerate(labels) if label == m) for m in range(M)]


def split(classes: Sequence[int], num_classes: int) -> tuple[Tensor, Tensor]:
    """S and the rest, int64, ascending. Raises ValueError for a class that there is not, for none and for all."""
    if not classes or not 0 <= min(classes) <= max(classes) < num_classes or len(set(classes)) == num_classes:
        raise ValueError(f"a specialist needs some of the classes 0 to {num_classes - 1}, and not all, got {classes}")
    return torch.tensor(sorted({*classes})), torch.tensor(sorted({*range(num_classes)} - {*classes}))


def group(z: Tensor, special: Tensor, rest: Tensor) -> Tensor:
    """Logits, or log q, (N, K) -> (N, |S| + 1): those of S, then the dustbin's. special (|S|,), rest (K - |S|,)."""
    return torch.cat([z[:, special], z[:, rest].logsumexp(1, keepdim=True)], 1)


def specialist_loss(z: Tensor, y: Tensor, special: Tensor, rest: Tensor, frequency: float, share: float) -> Tensor:
    """The hard term.

    Args:
        z: (N, K) logits.
        y: (N,) classes or (N, K) probabilities.
        special, rest: (|S|,) and (K - |S|,), the classes.
        frequency: f, of images of S in the data, in (0, 1).
        share: h, that they shall have in the loss, in (0, 1).
    """
    y = probabilities(y, z.shape[1])
    inside = y[:, special].sum(1, keepdim=True)
    weighted = torch.cat([y[:, special] * (share / frequency), (1 - inside) * ((1 - share) / (1 - frequency))], 1)
    oversampling = share / (1 - share) / (frequency / (1 - frequency))
    s = group(z.float(), special, rest)
    s = torch.cat([s[:, :-1], s[:, -1:] - math.log(oversampling)], 1)
    return -(weighted * s.log_softmax(1)).sum(1).mean()


class Specialist(Taught):
    """Trains a copy of the generalist for some classes: `zoo.load` it, add this trick, fit. At test: `Committee`.

    Args:
        teacher: the generalist: a trained network, images -> logits, the path of a zoo model's checkpoint,
            `"hf:USER/REPO"` with one, or `"timm:NAME"`. Stays out of checkpoints.
        classes: S, at least one and not all: a group of `clusters`, say.
        weight: a, of the generalist's word about the other classes, >= 0, or a `Schedule`.
        T: temperature of that word, > 0, or a `Schedule`.
        share: h, of the images of S in the loss, in (0, 1).

    Raises:
        ValueError: for an argument out of its range, a teacher of other classes, a class that there is not, or beside
            a trick that replaces the loss too.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (
        Claims("replace the cross-entropy"),
        NothingAddedBefore(),
        Range("weight", 0),
        Range("T", 0, open_low=True),
    )
    needs_labels = True

    def __init__(
        self,
        teacher: Source,
        classes: Sequence[int],
        weight: Rate = 0.5,
        T: Rate = 4.0,
        share: float = 0.5,
    ):
        if not 0 < share < 1:
            raise ValueError(f"Specialist: share must be in (0, 1), not {share}")
        self.teacher, self.classes, self.weight, self.T, self.share = teacher, tuple(classes), weight, T, share
        self._teacher = Teacher(teacher)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._special, self._rest = split(self.classes, classes_of(model))

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._teacher.join(trainer, model, classes_of(model))
        data = trainer.datamodule
        counts = getattr(data, "class_counts", None) if getattr(data, "sampling", None) is None else None
        counts = torch.ones(classes_of(model)) if counts is None else counts.float()
        self._frequency = (counts[self._special].sum() / counts.sum()).item()
        self._split = self._special.to(model.device), self._rest.to(model.device)

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        a, T, rest = rate_now(self.weight, model.trainer), rate_now(self.T, model.trainer), self._split[1]
        hard = step.over_heads(lambda z: specialist_loss(z, step.targets, *self._split, self._frequency, self.share))
        step.loss = hard + a * soft_loss(step.logits[:, rest], self._teacher.logits(step)[:, rest], T)


@torch.no_grad()
def combine(
    generalist: nn.Module,
    specialists: Sequence[tuple[nn.Module, Sequence[int]]],
    images: Tensor,
    n: int = 1,
    steps: int = 100,
) -> Tensor:
    """What the generalist and those specialists say together who know about its first guesses.

    Args:
        generalist: images -> logits (N, K), in eval mode, as the specialists.
        specialists: networks with their classes: `[(model, trick.classes), ...]`. Each sees only the images for which
            it is asked.
        images: (N, C, H, W).
        n: of the generalist's most probable classes, how many call their specialists.
        steps: of gradient descent.

    Returns:
        Probabilities q (N, K).
    """
    log_p = generalist(images).float().log_softmax(1)
    guesses, said = log_p.topk(n, 1).indices, []
    for network, classes in specialists:
        special, rest = (part.to(log_p.device) for part in split(classes, log_p.shape[1]))
        rows = torch.isin(guesses, special).any(1).nonzero()[:, 0]
        if len(rows):
            said.append((rows, special, rest, group(network(images[rows]).float(), special, rest).softmax(1)))
    return minimise(log_p, said, steps)


class Committee(nn.Module):
    """`combine` as a network: `Trainer.test(zoo.Classifier(Committee(generalist, specialists)), data)`.

    Args:
        generalist: images -> logits (N, K).
        specialists: networks with their classes: `[(model, trick.classes), ...]`.
        n: of the generalist's most probable classes, how many call their specialists.
    """

    def __init__(self, generalist: nn.Module, specialists: Sequence[tuple[nn.Module, Sequence[int]]], n: int = 1):
        super().__init__()
        self.num_classes, self.n = classes_of(generalist), n
        self.generalist = generalist
        self.specialists = nn.ModuleList(network for network, _ in specialists)
        self.classes = [tuple(classes) for _, classes in specialists]

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) -> log q (N, K), whose softmax is q."""
        together = zip(self.specialists, self.classes, strict=True)
        return combine(self.generalist, [*together], images, self.n).log()


def minimise(log_p: Tensor, said: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]], steps: int) -> Tensor:
    """q (N, K) of the equation above.

    Args:
        log_p: (N, K), of the generalist.
        said: for each specialist the images (n,) of which it was asked, its classes (|S|,), the rest, and its
            probabilities (n, |S| + 1).
        steps: each makes the sum smaller: of the length 2 / A where A opinions are heard, as the logarithm of a sum of
            exponentials bends by at most 1/2 in any direction.
    """
    z, heard = log_p.clone(), torch.ones_like(log_p[:, :1])
    for rows, *_ in said:
        heard[rows] += 1
    for _ in range(steps):
        q, wanted = z.softmax(1), log_p.exp()  # the gradient is A q - wanted
        for rows, special, rest, p in said:
            others = q[rows][:, rest]
            opinion = torch.zeros_like(q[rows])
            opinion[:, special] = p[:, :-1]
            opinion[:, rest] = p[:, -1:] * others / others.sum(1, keepdim=True).clamp(min=1e-30)
            wanted[rows] += opinion
        z -= 2 * (q - wanted / heard)
    return z.softmax(1)
