"""Specialist: train a copy of a general classifier to distinguish a few classes that it confuses.

Paper:    Distilling the Knowledge in a Neural Network (Hinton, Vinyals, Dean; 2015) https://arxiv.org/abs/1503.02531,
          sections 5 and 6.1
Code:     none of the authors'; scikit-learn's k-means, used here
Equation: special classes S, all others one "dustbin" class
          s(z) = (z_k for k in S, logsumexp_{k not in S} z_k - log r)
          L = sum_n w_n CE(y_n in S or dustbin, s(z_n)) / N + a T^2 KL(softmax(v / T) || softmax(z / T)), the KL over
          the classes not in S, v the generalist's logits. The weights w_n give images of S, of frequency f in the data,
          the fraction h of the loss;   r = [h / (1 - h)] / [f / (1 - f)]
          At test: q = argmin KL(p_g || q) + sum_m KL(p_m || q grouped by S_m), over the specialists m with a class
          among the generalist's n most probable ones, by gradient descent on q's logits (`frame/committee.py`)
Shapes:   logits z, v (N, K) -> s (N, |S| + 1) -> scalar;   images (N, C, H, W) -> q (N, K)
Defaults: fraction = .5 (h) and n = 1, the paper's; weight = .5 (a), T = 4: ours. Starts from the generalist's weights
Differs:  weights w_n instead of drawing half of each batch from S: equal in expectation. All K logits remain, and are
          summed for the dustbin; so the specialist starts as the generalist and can keep its knowledge (section 6.1).
          log r is subtracted in training, not added afterwards: the same function, and the plain softmax of the
          network is calibrated.
"""

import math
from collections.abc import Sequence

import lightning as L
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from callbacks.distillation.knowledge import soft_loss
from callbacks.frame.committee import group, split
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims, NothingAddedBefore
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.targets import probabilities
from callbacks.frame.teacher import Source, Taught, Teacher
from zoo import Step
from zoo.frame.checks import classes_of
from zoo.frame.run import datamodule_of


def clusters(p: Tensor, M: int) -> list[tuple[int, ...]]:
    """Group classes that are often predicted together: k-means on the columns of the predictions' covariance.

    Args:
        p: probabilities (N, K) of the generalist for many images.
        M: number of groups, at most K.

    Returns:
        M disjoint groups of classes, each ascending.
    """
    labels = KMeans(M, n_init=10, random_state=0).fit_predict(p.double().T.cov().cpu().numpy())
    return [tuple(k for k, label in enumerate(labels) if label == m) for m in range(M)]


def specialist_loss(z: Tensor, y: Tensor, special: Tensor, rest: Tensor, frequency: float, fraction: float) -> Tensor:
    """Return the cross-entropy term of the equation above, a scalar.

    Args:
        z: logits (N, K).
        y: class indices (N,) or probabilities (N, K).
        special, rest: the classes in S (|S|,) and the others (K - |S|,).
        frequency: f, of images of S in the data, in (0, 1).
        fraction: h, of images of S in the loss, in (0, 1).
    """
    y = probabilities(y, z.shape[1])
    inside = y[:, special].sum(1, keepdim=True)
    weighted = torch.cat([y[:, special] * (fraction / frequency), (1 - inside) * ((1 - fraction) / (1 - frequency))], 1)
    oversampling = fraction / (1 - fraction) / (frequency / (1 - frequency))
    s = group(z.float(), special, rest)
    s = torch.cat([s[:, :-1], s[:, -1:] - math.log(oversampling)], 1)
    return -(weighted * s.log_softmax(1)).sum(1).mean()


class Specialist(Taught):
    """Train a copy of the generalist for some classes: `zoo.load` it, add this trick, and fit.

    For testing, `callbacks.frame.committee.Committee` combines generalist and specialists.

    Args:
        teacher: the generalist: a trained network (images -> logits), the path of a zoo model's checkpoint,
            `"hf:USER/REPO"` with one, or `"timm:NAME"`. Kept out of checkpoints.
        classes: S, at least one class and not all, for example a group of `clusters`.
        weight: a, weight of the distillation of the other classes, >= 0, or a `Schedule`.
        T: temperature of the distillation, > 0, or a `Schedule`.
        fraction: h, of images of S in the loss, in (0, 1).

    Raises:
        ValueError: if an argument is out of its range, the teacher has other classes, a class does not exist, or for
            another trick that replaces the loss.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    meets = (("logits", "other classes", "KL, times T²", "other classes"),)
    partner = "generalist"
    needs = (
        Claims("replace the cross-entropy"),
        NothingAddedBefore(),
        Range("weight", 0),
        Range("T", 0, open_low=True),
        Range("fraction", 0, 1, open_low=True, open_high=True),
    )
    examples = ({"classes": (1, 2), "weight": Linear(0, 1), "T": 2.0, "fraction": 0.3},)
    needs_labels = True

    def __init__(
        self,
        teacher: Source,
        classes: Sequence[int],
        weight: Rate = 0.5,
        T: Rate = 4.0,
        fraction: float = 0.5,
    ):
        self.teacher, self.classes, self.weight, self.T, self.fraction = teacher, tuple(classes), weight, T, fraction
        self._teacher = Teacher(teacher)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._special, self._rest = split(self.classes, classes_of(model))

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._teacher.join(trainer, model, classes_of(model))
        data = datamodule_of(trainer)
        counts = getattr(data, "class_counts", None) if getattr(data, "sampling", None) is None else None
        counts = torch.ones(classes_of(model)) if counts is None else counts.float()
        self._frequency = (counts[self._special].sum() / counts.sum()).item()
        self._split = self._special.to(model.device), self._rest.to(model.device)

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        a, T, rest = rate_now(self.weight, model.trainer), rate_now(self.T, model.trainer), self._split[1]
        hard = step.over_heads(lambda z: specialist_loss(z, step.targets, *self._split, self._frequency, self.fraction))
        step.loss = hard + a * soft_loss(step.logits[:, rest], self._teacher.logits(step)[:, rest], T)
