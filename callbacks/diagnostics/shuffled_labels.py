"""Shuffled labels: warn when training learns while validation stays at chance.

Paper:    none. On wrong labels in test sets: Pervasive Label Errors in Test Sets Destabilize Machine Learning
          Benchmarks (Northcutt, Athalye, Mueller; 2021) https://arxiv.org/abs/2103.14749. The case checked here happens
          with Tiny-ImageNet and ImageNet, whose validation labels are in a file of their own:
          https://github.com/tjmoon0104/pytorch-tiny-imagenet/issues/4
Code:     none
Equation: chance p = fraction of the largest class;   bound(z) = p + z sqrt(p (1 - p) / n) for n images;
          warns if acc_train > max(2 p, bound(5)) and acc_val < bound(3) in `patience` validations in a row
Shapes:   none
Defaults: patience = 2, ours: after an epoch with a high learning rate, stale batch-norm averages alone can put
          validation at chance
Differs:  no reference
"""

from math import sqrt

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from callbacks.frame.needs import Range
from callbacks.frame.trick import Trick
from zoo.frame.figures import Picture

LEARNED, CHANCE = 5, 3  # standard deviations: guessing exceeds them once in 3 million and once in 740 times


def chance_bound(chance: float, count: float, deviations: float) -> float:
    """Return the accuracy that lies some standard deviations of the binomial distribution above chance.

    Args:
        chance: probability that a guess is right, in [0, 1].
        count: number of guesses, >= 1.
        deviations: number of standard deviations.
    """
    return chance + deviations * sqrt(chance * (1 - chance) / count)


def looks_shuffled(train_acc: float, train_classes: Tensor, val_acc: float, val_classes: Tensor) -> bool:
    """Return whether training is clearly above chance while validation is not.

    Args:
        train_acc, val_acc: accuracies in [0, 1].
        train_classes, val_classes: (K,) number of images of each class. Chance is the fraction of the largest.
    """
    trained, validated = train_classes.sum().item(), val_classes.sum().item()
    train_chance, val_chance = train_classes.max().item() / trained, val_classes.max().item() / validated
    learned = train_acc > max(2 * train_chance, chance_bound(train_chance, trained, LEARNED))
    return learned and val_acc < chance_bound(val_chance, validated, CHANCE)


class ClassCounts:
    """Counts the classes of targets. Waits for the device in `counts` only."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def add(self, targets: Tensor) -> None:
        """Add class indices (N,) or probabilities (N, K)."""
        self.seen.append(targets.sum(0) if targets.is_floating_point() else targets)

    def counts(self) -> Tensor:
        """Return the counts (K,), float; K is the largest class so far plus one."""
        counts = [t if t.is_floating_point() else t.bincount().float() for t in self.seen]
        total = torch.zeros(max(map(len, counts), default=1), device=counts[0].device if counts else None)
        for count in counts:
            total[: len(count)] += count
        return total


class ShuffledLabels(Trick):
    """Warn, once a fit, if training learns and validation stays at chance.

    Reads `train/acc` (`train/acc_mixed` if all targets are mixed) and `val/acc`, which every model of the zoo logs.
    Does nothing for a module that does not log them.

    Args:
        patience: number of such validations in a row before the warning, >= 1.

    Raises:
        ValueError: if patience is below 1.
    """

    needs = (Range("patience", 1),)
    examples = ({"patience": 1},)
    needs_labels = True

    def __init__(self, patience: int = 2):
        self.patience = patience

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._in_a_row, self._warned = 0, False
        self._train = ClassCounts()
        self._val: ClassCounts | None = None

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch, batch_idx: int) -> None:
        self._train.add(batch[1])

    def on_validation_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._val = ClassCounts()

    def on_validation_batch_start(self, trainer, model, batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx == 0 and self._val is not None:
            self._val.add(batch[1])

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._look(trainer)  # at the previous epoch: a model logs train/acc after the callbacks' on_train_epoch_end

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._look(trainer)

    def _look(self, trainer: L.Trainer) -> None:
        train, val, self._train, self._val = self._train, self._val, ClassCounts(), None
        metrics = trainer.callback_metrics
        train_acc, val_acc = metrics.get("train/acc", metrics.get("train/acc_mixed")), metrics.get("val/acc")
        if val is None or train_acc is None or val_acc is None or not train.seen or not val.seen:
            return
        shuffled = looks_shuffled(train_acc.item(), train.counts(), val_acc.item(), val.counts())
        self._in_a_row = self._in_a_row + 1 if shuffled else 0
        if self._in_a_row >= self.patience and not self._warned:
            self._warned = True
            rank_zero_warn(
                f"training accuracy is {train_acc:.3f} and validation accuracy {val_acc:.3f}, which is chance: the "
                "labels look shuffled. Do both sets number the classes in the same order (sorted folders, or "
                "wnids.txt)? Are annotations matched by file name? Are both sets normalised the same way? "
                "data.show_batch() and data.show_batch(batch=next(iter(data.val_dataloader()))) draw both with labels"
            )

    def draw(self) -> Picture:
        """Draw the area of training and validation accuracies of ten classes in which the trick warns."""
        from callbacks.frame.pictures.areas import draw_area

        n = torch.full((10,), 100)
        verdict = lambda train, val: looks_shuffled(train, n, val, n)  # noqa: E731
        caption = f"Where {self!r} warns, for 1,000 images of ten equal classes in training and in validation."
        return draw_area(verdict, ("training accuracy", "validation accuracy"), caption)
