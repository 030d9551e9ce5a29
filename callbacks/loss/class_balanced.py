"""Class-balanced loss: weight each class by the inverse of its effective number of images.

Paper:    Class-Balanced Loss Based on Effective Number of Samples (Cui, Jia, Lin, Song, Belongie; CVPR 2019)
          https://arxiv.org/abs/1901.05555, equations 2 and 4
Code:     https://github.com/richardaecn/class-balanced-loss at 1d78572 (the authors'; `src/cifar_main.py`)
Equation: E_k = (1 - beta^n_k) / (1 - beta),   w_k = (1 / E_k) K / sum_j (1 / E_j),   L = -sum_k w_k y_k log p_k
Shapes:   n (K,) images of each class -> w (K,);  logits (N, K), targets (N,) or y (N, K) -> scalar, mean over images
Defaults: beta = .999 (the paper takes the best of .9, .99, .999 and .9999 for each data set)
Differs:  the softmax form; for the focal form, give these weights to `FocalLoss(alpha=)`. The loss is the mean over
          images, as in the authors' code; torch.nn.CrossEntropyLoss(weight=) divides by the sum of the weights.
"""

from collections.abc import Sequence

import lightning as L
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.loss import Replacing, per_class
from callbacks.frame.needs import Range
from callbacks.frame.targets import probabilities
from zoo.frame.figures import Picture
from zoo.frame.run import datamodule_of


def effective_weights(n: Tensor, beta: float) -> Tensor:
    """Return w of the equation above, (K,) float32 with sum K. With beta = 0, all are 1.

    Args:
        n: images of each class, (K,), all > 0.
        beta: in [0, 1).
    """
    rarity = (1 - beta) / (1 - beta ** n.double())
    return (rarity * len(n) / rarity.sum()).float()


class ClassBalanced(Replacing):
    """Replace the training loss by a weighted cross-entropy. Metrics and evaluation keep the plain one.

    Args:
        beta: in [0, 1). 0 gives the plain cross-entropy; near 1, weights are proportional to 1 / n_k.
        counts: K numbers of images of each class; None: `datamodule.class_counts`, of the training split.

    Raises:
        ValueError: if an argument is out of its range, the data module has no counts, a class has no images, the data
            module balances classes already, with another loss, or after a trick that adds to the loss.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    needs = (Range("beta", 0, 1, open_high=True),)
    examples = ({"beta": 0.9, "counts": (7,) * 10},)

    def __init__(self, beta: float = 0.999, counts: Sequence[int] | None = None):
        self.beta = beta
        self.counts = None if counts is None else tuple(counts)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if self.counts is None and stage == "fit":
            self._check_data(trainer)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        n = datamodule_of(trainer).class_counts if self.counts is None else per_class(self, "counts", model)
        if empty := (n < 1).nonzero().flatten().tolist():
            raise ValueError(f"ClassBalanced: class {empty[0]} has no training images, so its weight is infinite")
        self._weights = effective_weights(n, self.beta).to(model.device)

    @staticmethod
    def _check_data(trainer: L.Trainer) -> None:
        data = datamodule_of(trainer)
        if not hasattr(data, "class_counts"):
            raise ValueError("ClassBalanced needs images per class: ClassBalanced(counts=(...)), or a data module's")
        if getattr(data, "sampling", None) is not None:
            raise ValueError(f'sampling="{data.sampling}" has made the classes equal already: take one of the two out')

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), probabilities(targets, logits.shape[1]), weight=self._weights)

    def draw(self) -> Picture:
        """Draw three classes: of the fewest, the median and the most images; without `counts`, of 10, 100 and 1,000."""
        from callbacks.frame.pictures.loss import draw

        n = sorted(self.counts or (10, 100, 1000))
        return draw(ClassBalanced(self.beta, (n[0], n[len(n) // 2], n[-1])))
