"""Class-balanced loss: an image of a rare class counts more, by the effective number of images of its class.

Paper:    Class-Balanced Loss Based on Effective Number of Samples (Cui, Jia, Lin, Song, Belongie; CVPR 2019)
          https://arxiv.org/abs/1901.05555, equations 2 and 4
Code:     https://github.com/richardaecn/class-balanced-loss at 1d78572 (the authors'; `src/cifar_main.py`)
Equation: E_k = (1 - beta^n_k) / (1 - beta),   w_k = (1 / E_k) K / sum_j (1 / E_j),   L = -sum_k w_k y_k log p_k
Shapes:   n (K,) images of each class -> w (K,);  logits (N, K), targets (N,) or y (N, K) -> scalar, mean over images
Defaults: beta = .999 (the paper tries .9, .99, .999 and .9999, and takes the best of each data set)
Differs:  the softmax form; for the focal one give these weights to `FocalLoss(alpha=)`. The mean is over the images,
          as the authors', where torch.nn.CrossEntropyLoss(weight=) divides hard targets by the sum of their weights.
"""

from collections.abc import Sequence

import lightning as L
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.loss import Replacing, per_class
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities


def effective_weights(n: Tensor, beta: float) -> Tensor:
    """w of the equation above: counts (K,), none 0 -> (K,) float32, of sum K. beta = 0: all 1."""
    rarity = (1 - beta) / (1 - beta ** n.double())
    return (rarity * len(n) / rarity.sum()).float()


class ClassBalanced(Replacing):
    """Replaces the training loss by the cross-entropy with weights. Metrics and evaluation keep the plain one.

    The counts are those of the training images, after the split: `datamodule.class_counts`.

    Args:
        beta: in [0, 1); 0: the cross-entropy; towards 1 the weights become 1 / n_k, up to the scale.
        counts: (K,) images of each class; None: what the data module says.

    Raises:
        ValueError: for an argument out of its range, data without counts, a class without images, classes that the
            data module has made equal already, a second loss, or a trick before it that adds to the loss.
        TypeError: for a LightningModule that does not call `on_loss`; says what to add.
    """

    needs = (Range("beta", 0, 1),)

    def __init__(self, beta: float = 0.999, counts: Sequence[int] | None = None):
        if beta == 1:
            raise ValueError("ClassBalanced: beta must be below 1, such as 0.9999; at 1 no sample is new")
        self.beta = beta
        self.counts = None if counts is None else tuple(counts)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if self.counts is None and stage == "fit":
            self._check_data(trainer)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        n = trainer.datamodule.class_counts if self.counts is None else per_class(self, "counts", model)
        if empty := (n < 1).nonzero().flatten().tolist():
            raise ValueError(f"ClassBalanced: no images to train on in class {empty[0]}, its weight is infinite")
        self._weights = effective_weights(n, self.beta).to(model.device)

    @staticmethod
    def _check_data(trainer: L.Trainer) -> None:
        data = trainer.datamodule
        if not hasattr(data, "class_counts"):
            raise ValueError("ClassBalanced needs images per class: ClassBalanced(counts=(...)), or a data module's")
        if getattr(data, "sampling", None) is not None:
            raise ValueError(f'sampling="{data.sampling}" has made the classes equal already: take one of the two out')

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), probabilities(targets, logits.shape[1]), weight=self._weights)
