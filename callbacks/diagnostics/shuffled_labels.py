"""Shuffled labels: training learns, validation stays at chance, and somebody says so.

Paper:    none has this check. On wrong labels of test sets: Pervasive Label Errors in Test Sets Destabilize Machine
          Learning Benchmarks (Northcutt, Athalye, Mueller; 2021) https://arxiv.org/abs/2103.14749. The case meant here
          is that of Tiny-ImageNet and ImageNet, whose validation labels lie apart from the images:
          https://github.com/tjmoon0104/pytorch-tiny-imagenet/issues/4
Code:     none
Equation: chance p = share of the largest class; bound(z) = p + z sqrt(p (1 - p) / n) of n images
          warns if acc_train > max(2 p, bound(5)) and acc_val < bound(3), `patience` validations in a row
Shapes:   none
Defaults: patience 2: after an epoch at a high rate, batch norm's averages alone can put validation at chance
Differs:  nothing to differ from
"""

from math import sqrt

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from callbacks.frame.trick import Trick, needs_range

LEARNED, CHANCE = 5, 3  # standard deviations: at chance, training is beyond once in 3 million, validation once in 740


def chance_bound(chance: float, count: int, deviations: float) -> float:
    """Accuracy that guessing exceeds only by so many standard deviations of the binomial distribution.

    Args:
        chance: probability that a guess is right, in [0, 1].
        count: number of guesses, >= 1.
        deviations: how many.
    """
    return chance + deviations * sqrt(chance * (1 - chance) / count)


def looks_shuffled(train_acc: float, train_classes: Tensor, val_acc: float, val_classes: Tensor) -> bool:
    """Whether training has clearly left chance while validation has not.

    Args:
        train_acc, val_acc: accuracies in [0, 1].
        train_classes, val_classes: (K,) images of each class; who always guesses the largest is right that often.
    """
    trained, validated = train_classes.sum().item(), val_classes.sum().item()
    train_chance, val_chance = train_classes.max().item() / trained, val_classes.max().item() / validated
    learned = train_acc > max(2 * train_chance, chance_bound(train_chance, trained, LEARNED))
    return learned and val_acc < chance_bound(val_chance, validated, CHANCE)


class Classes:
    """Counts targets, classes (N,) or probabilities (N, K), without a wait for the device before `counts`."""

    def __init__(self):
        self.seen = []

    def add(self, targets: Tensor) -> None:
        self.seen.append(targets.sum(0) if targets.is_floating_point() else targets)

    def counts(self) -> Tensor:
        """(K,) float; K is the largest class that was seen, plus one."""
        counts = [t if t.is_floating_point() else t.bincount().float() for t in self.seen]
        total = torch.zeros(max(map(len, counts), default=1), device=counts[0].device if counts else None)
        for count in counts:
            total[: len(count)] += count
        return total


class ShuffledLabels(Trick):
    """Warns, once a fit, if training learns and validation stays at chance; changes nothing.

    It reads what the model logs as `train/acc` (`train/acc_mixed` if all targets are mixed) and `val/acc`, as every
    model of the zoo does. A module that logs neither is not looked after.

    Args:
        patience: validations in a row that must look so, >= 1.

    Raises:
        ValueError: if patience < 1.
    """

    needs_labels = True

    def __init__(self, patience: int = 2):
        needs_range(self, "patience", patience, 1, float("inf"))
        self.patience = patience

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._in_a_row, self._told = 0, False
        self._train, self._val = Classes(), None

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch, batch_idx: int) -> None:
        self._train.add(batch[1])

    def on_validation_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._val = Classes()

    def on_validation_batch_start(self, trainer, model, batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx == 0:
            self._val.add(batch[1])

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._look(trainer)  # at the epoch before: a model logs train/acc after the callbacks' on_train_epoch_end

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._look(trainer)

    def _look(self, trainer: L.Trainer) -> None:
        train, val, self._train, self._val = self._train, self._val, Classes(), None
        metrics = trainer.callback_metrics
        train_acc, val_acc = metrics.get("train/acc", metrics.get("train/acc_mixed")), metrics.get("val/acc")
        if val is None or train_acc is None or val_acc is None or not train.seen or not val.seen:
            return
        shuffled = looks_shuffled(train_acc.item(), train.counts(), val_acc.item(), val.counts())
        self._in_a_row = self._in_a_row + 1 if shuffled else 0
        if self._in_a_row >= self.patience and not self._told:
            self._told = True
            rank_zero_warn(
                f"training accuracy is {train_acc:.3f} and validation accuracy {val_acc:.3f}, which is chance: the "
                "labels look shuffled. Do both sets count the classes in one order (sorted folders, or wnids.txt)? Are "
                "annotations matched by the names of the files? Are both normalised alike? data.show_batch() and "
                "data.show_batch(batch=next(iter(data.val_dataloader()))) draw both with their labels"
            )
