"""Cross mini-batch norm: where gradients accumulate, add the statistics of the step's earlier mini-batches.

Paper:    YOLOv4: Optimal Speed and Accuracy of Object Detection (Bochkovskiy, Wang, Liao; 2020)
          https://arxiv.org/abs/2004.10934, section 3.3 and figure 4, CmBN
Code:     https://github.com/AlexeyAB/darknet (the authors'), issue 4386 and the kernel `fast_v_cbn`
Equation: for mini-batch j = 1 ... n of an optimizer step, with moments m_j = E[x] and v_j = E[x^2]:
          m <- m_j / j + (1 - 1 / j) m,   v <- max(v_j, m_j^2) / j + (1 - 1 / j) v,   var = max(0, v - m^2)
Shapes:   every batch norm over maps, (N, C, H, W) -> same
Defaults: none to choose; n is the Trainer's accumulate_grad_batches
Differs:  v_j has the divisor N H W (the kernel has one less), so that the first mini-batch, or n = 1, is batch norm and
          the last sees the statistics of all. Earlier mini-batches are constants, as in the kernel. The averages for
          evaluation take m and var of every mini-batch, var as torch does with the factor M / (M - 1). Moments of
          earlier mini-batches are means over all processes, so that a checkpoint of one holds them all.
"""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.past_norms import PastNorms, moments
from callbacks.frame.processes import average_over_processes


@torch.no_grad()
def move_averages(
    norm: nn.BatchNorm2d, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], count: int
) -> None:
    """Let a norm's averages be as if its last batch had had other moments.

    Args:
        norm: has just averaged the moments `before`.
        before: mean and mean square of each channel, (C,), that it has seen.
        after: those that it should have seen.
        count: M, numbers of each channel.
    """
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    momentum = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    (mean, square), (new_mean, new_square) = before, after
    change = (new_square - new_mean**2).clamp(min=0) - (square - mean**2)
    norm.running_mean += (momentum * (new_mean - mean)).to(norm.running_mean)
    norm.running_var += (momentum * change * count / max(count - 1, 1)).to(norm.running_var)


class CrossMiniBatchNorm(PastNorms):
    """Normalise by all mini-batches of an optimizer step so far: `Trainer(accumulate_grad_batches=4)`.

    Raises:
        TypeError: for a network without batch norms over maps.
        ValueError: with another trick that chooses the norms.
    """

    def __init__(self):
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}  # m and v of this optimizer step so far, by norm
        self._seen: dict[str, tuple[Tensor, Tensor]] = {}  # those with the present mini-batch
        self._j = 1

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self._reset()

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, model, batch, batch_idx)
        self._j = batch_idx % trainer.accumulate_grad_batches + 1

    def statistics(self, name: str, norm: nn.BatchNorm2d, x: Tensor, wide: Tensor) -> tuple[Tensor, Tensor] | None:
        own = moments(wide)
        if self._j == 1 or name not in self._sums:
            self._seen[name] = own[0].detach(), own[1].detach()
            return None
        j, (m, v) = self._j, (past.to(wide) for past in self._sums[name])
        both = own[0] / j + (1 - 1 / j) * m, torch.maximum(own[1], own[0] ** 2) / j + (1 - 1 / j) * v
        self._seen[name] = both[0].detach(), both[1].detach()
        move_averages(norm, own, both, x.numel() // x.shape[1])
        return both

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: object) -> None:
        super().on_train_batch_end(trainer, model)
        self._sums, self._seen = self._seen, {}
        if self._j == trainer.accumulate_grad_batches:
            self._sums = {}  # the next mini-batch begins a step
        average_over_processes(trainer, [value for moments in self._sums.values() for value in moments])

    def state_dict(self) -> dict[str, Any]:
        return {name: [value.cpu() for value in moments] for name, moments in self._sums.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sums = {name: (m, v) for name, (m, v) in state.items()}
