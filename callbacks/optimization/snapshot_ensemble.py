"""Snapshot ensemble: lower the rate in cycles, and average the predictions of the networks at their ends.

Paper:    Snapshot Ensembles: Train 1, Get M for Free (Huang et al.; ICLR 2017) https://arxiv.org/abs/1704.00109, eq. 2
          and section 3
Code:     https://github.com/gaohuang/SnapshotEnsemble (the authors'), `learningRateCosine` of train.lua
Equation: alpha(t) = alpha_0 / 2 (cos(pi mod(t - 1, ceil(T / M)) / ceil(T / M)) + 1),   t = 1 .. T optimizer steps
          weights are kept after t = ceil(T / M), 2 ceil(T / M), ..., T;   test: mean softmax of the last m
Shapes:   m logits (N, K) -> (N, K), the logarithm of their mean softmax
Defaults: cycles = 5 (M), all five in the ensemble: the authors' example, with alpha_0 = .2 and 200 epochs
Differs:  the authors' code has t in the cosine where the paper has t - 1, so the last step of a cycle has rate 0. It
          also gives the remainder of T / M to the last cycle. We follow the paper's equation in both
"""

import math
from collections.abc import Sequence

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.copies import copy_of
from callbacks.frame.decay import Decay, cosine
from zoo.frame.checks import classes_of
from zoo.frame.log import log_shared
from zoo.frame.outputs import over_views
from zoo.frame.run import count_loaders
from zoo.frame.scores import Scores, with_suffix
from zoo.frame.sharded import forward_with, part_like


def mean_softmax(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean softmax: m logits (N, K) -> (N, K), float32."""
    votes = torch.stack([z.float().log_softmax(1) for z in logits])
    return votes.logsumexp(0) - math.log(len(votes))


class SnapshotEnsemble(Decay):
    """Set the learning rate in cycles and keep the weights at their ends. Works on any LightningModule.

    A test logs `test/acc_snapshots5` and so on beside the `test/acc` of the last weights; the number counts the
    networks. Validation uses the present weights alone. `snapshots` holds the kept weights, on the CPU; so does
    every checkpoint that holds more than weights.

    Args:
        cycles: M, number of cycles of the run, >= 1.
        last: m, how many of the last snapshots are kept and vote, from 1 to M; None: all.

    Raises:
        ValueError: for an argument out of its range, or if something else sets the rate too.
    """

    one_label = True
    examples = ({"cycles": 3, "last": 2},)
    reads_weights = True
    snapshots: list[dict[str, Tensor]] = []

    def __init__(self, cycles: int = 5, last: int | None = None):
        super().__init__()
        if not 1 <= (cycles if last is None else last) <= cycles:
            raise ValueError(f"SnapshotEnsemble: needs 1 <= last <= cycles, got last={last}, cycles={cycles}")
        self.cycles = cycles
        self.last = last

    # ---- the cycles

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self.snapshots = []

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self.cycle = math.ceil(self.total / self.cycles)

    def factor(self, step: int) -> float:
        return cosine(step % self.cycle, self.cycle)

    # ---- the snapshots

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        step = trainer.global_step
        if step == self._step:  # gradients are accumulating: no step was taken
            return
        self._step = step
        if step % self.cycle == 0 or step == self.total:
            self.snapshots = [*self.snapshots, copy_of(trainer, model)][-(self.last or self.cycles) :]

    def state_dict(self) -> dict[str, list]:
        return {"snapshots": self.snapshots}

    def load_state_dict(self, state: dict[str, list]) -> None:
        self.snapshots = state["snapshots"]

    # ---- their vote

    def on_test_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        live = model.state_dict()
        self._voters = [{k: part_like(v, live[k]) for k, v in one.items()} for one in self.snapshots]
        masks = getattr(model, "masks", False)
        self._scores = Scores(classes_of(model), model.device, masks, count_loaders(trainer))

    @torch.no_grad()
    def on_test_batch_end(self, trainer, model, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if self._voters:
            images, targets = batch
            with trainer.precision_plugin.forward_context():  # autocast does not reach callbacks by itself
                votes = [_logits(model, voter, images) for voter in self._voters]
            self._scores.update(mean_softmax(votes), targets, dataloader_idx)

    def on_test_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self._voters:
            scores, m = self._scores.compute(), len(self._voters)
            labelled = {with_suffix(f"test/{name}", f"snapshots{m}"): value for name, value in scores.items()}
            log_shared(model, labelled, add_dataloader_idx=False)
        self._voters = []


def _logits(model: L.LightningModule, weights: dict[str, Tensor], images: Tensor) -> Tensor:
    return over_views(lambda x: forward_with(model, weights, x), images)
