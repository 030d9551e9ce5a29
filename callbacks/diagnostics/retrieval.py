"""Retrieval: score a network's features as a search engine, each test image against all others.

Paper:    A Metric Learning Reality Check (Musgrave, Belongie, Lim; ECCV 2020) https://arxiv.org/abs/2003.08505, section
          3.2, R-precision and MAP@R
Code:     none used
Equation: for a query of a class with R other images, rel(i) = whether the i-th nearest by cosine is of the class:
          R@1 = rel(1);   R-precision = 1/R sum_{i <= R} rel(i);
          MAP@R = 1/R sum_{i <= R} P(i) rel(i),   P(i) = 1/i sum_{j <= i} rel(j);   means over queries
Shapes:   features (N, D), targets (N,) -> three numbers in [0, 1]
Defaults: none to choose
Differs:  features are those that enter the last linear layer. Images without another of their class are references,
          but no queries.
"""

from typing import NamedTuple

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.utilities.distributed import gather_all_tensors

from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.head import head_of
from zoo.frame.log import log_shared

ROWS = 256  # queries at a time


class Scores(NamedTuple):
    """Means over the queries."""

    r1: float
    r_precision: float
    map_at_r: float


def retrieval(features: Tensor, targets: Tensor) -> Scores:
    """Return the scores of features (N, D) of classes (N,). Raises ValueError if no class has two images."""
    x, found = F.normalize(features.float()), []
    others = targets.bincount()[targets] - 1  # R of each
    most = int(others.max())
    if most < 1:
        raise ValueError("retrieval needs two images of a class, and there is one of each")
    ranks = torch.arange(1, most + 1, device=x.device)
    for rows in torch.arange(len(x), device=x.device).split(ROWS):
        cosines = (x[rows] @ x.T).scatter(1, rows[:, None], -torch.inf)  # never itself
        nearest = cosines.sort(dim=1, descending=True, stable=True).indices[:, :most]
        r = others[rows, None]
        right = (targets[nearest] == targets[rows, None]) & (ranks <= r)
        average = (right.cumsum(1) / ranks * right).sum(1)
        found.append(torch.stack([right[:, 0], right.sum(1) / r[:, 0], average / r[:, 0]], 1)[r[:, 0] > 0])
    return Scores(*torch.cat(found).mean(0).tolist())


class Retrieval(Diagnostic):
    """Log R@1, R-precision and MAP@R of the test images as `test/r1`, `test/r_precision` and `test/map_at_r`.

    Keeps the features of all test images, of all processes, until the test ends. Averages of the weights are not
    scored. Does nothing in training.

    Raises:
        TypeError: for a network that does not end in a linear layer.
        ValueError: for several views of an image, or if no class has two test images.
    """

    needs_labels = True
    _found: list[tuple[Tensor, Tensor]]  # features and classes of each batch
    _last: Tensor

    def __init__(self):
        pass

    def on_test_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.findings, self._found, self._last = (), [], torch.empty(0)
        self.keep_hooks(head_of(self, model).register_forward_pre_hook(self._catch))

    def on_test_batch_start(self, *_: object) -> None:
        self._last = torch.empty(0)

    def _catch(self, head: nn.Linear, inputs: tuple[Tensor]) -> None:
        # the batch's first pass: averages have theirs later; some networks also apply the head to each token, (N, L, D)
        if inputs[0].ndim == 2 and not len(self._last):
            self._last = inputs[0].detach()

    def on_test_batch_end(self, trainer, model, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if len(self._last) != len(batch[1]):
            raise ValueError("Retrieval needs one view of each test image: take another evaluation protocol")
        self._found.append((self._last, batch[1]))

    def on_test_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        features, targets = map(torch.cat, zip(*self._found, strict=True))
        if trainer.world_size > 1:  # processes may have different numbers of images
            features, targets = (torch.cat(gather_all_tensors(x)) for x in (features, targets))
        scores = retrieval(features, targets)
        self.remove_hooks()
        log_shared(model, {f"test/{name}": torch.tensor(value) for name, value in scores._asdict().items()})
        words = f"R@1 {scores.r1:.4f}, R-precision {scores.r_precision:.4f}, MAP@R {scores.map_at_r:.4f}"
        self.say(True, f"the test images among each other: {words}")

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._found, self._last = [], torch.empty(0)
