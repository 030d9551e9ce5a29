"""Cross-iteration batch norm: for small batches, add the statistics of past batches, corrected to the present weights.

Paper:    Cross-Iteration Batch Normalization (Yao, Cao, Zheng, Huang, Lin; CVPR 2021) https://arxiv.org/abs/2002.05712
Code:     https://github.com/Howal/Cross-iterationBatchNorm at f6d35301 (the authors'), whose derivatives are autograd's
Equation: m, n: mean of y and of y^2 of each channel;  y = W * x, the convolution right before;  t - i: i batches ago
          m_{t-i}(W_t) = m_{t-i} + <dm_{t-i}/dW, W_t - W_{t-i}>, the same for n;   dm/dW_j = mean patch of x,
          dn/dW_j = 2 E[y_j patch];   mean = 1/k sum_i m_{t-i},   var = 1/k sum_i max(n_{t-i}, m_{t-i}^2) - mean^2
Shapes:   batch norms after convolutions, (N, C, H, W) -> same
Defaults: window = 4 (k), burn_in = 8 epochs of batch norm first: the authors' configuration
Differs:  max for all batches, where the code leaves terms with n < m^2 out; eps inside the root. The code counts the
          burn-in in passes. Averages for evaluation are those of the present batch, as in the code. Norms that do
          not follow a convolution without bias stay plain. Past moments are means over all processes, so that a
          checkpoint of one holds them all.
"""

from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from callbacks.frame.needs import Range
from callbacks.frame.past_norms import PastNorms, moments
from callbacks.frame.processes import average_over_processes
from zoo.frame.figures import Picture


class Past(NamedTuple):
    """One batch of one norm: moments (K,), their derivatives (G, C / G, h, w) and (K, C / G, h, w), and the weights."""

    m: Tensor
    n: Tensor
    dm: Tensor
    dn: Tensor
    weight: Tensor


def look_back(x: Tensor, y: Tensor, conv: nn.Conv2d) -> Past:
    """Return the moments of y = W * x and their derivatives by W.

    Args:
        x: input of the convolution, (N, C, H, W).
        y: its output, (N, K, H', W').
        conv: its weights, geometry and number of groups G; filters of one group share dm/dW.
    """
    x, ones = x.to(y.dtype), y.new_full((y.shape[0], conv.groups, *y.shape[2:]), y.shape[1] / y.numel())
    geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
    dm = conv2d_weight(x, [conv.groups, *conv.weight.shape[1:]], ones, *geometry)
    dn = conv2d_weight(x, conv.weight.shape, 2 * y * (y.shape[1] / y.numel()), *geometry)
    return Past(*moments(y), dm, dn, conv.weight.detach().to(y.dtype, copy=True))


def correct(past: Past, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the moments m and max(n, m^2) of a past batch, (K,), had it seen these weights (K, C / G, h, w)."""
    change = weight.to(past.weight) - past.weight
    shift = (change.unflatten(0, (len(past.dm), -1)) * past.dm[:, None]).flatten(0, 1).flatten(1).sum(1)
    m, n = past.m + shift, past.n + (change * past.dn).flatten(1).sum(1)
    return m, torch.maximum(n, m * m)


class CrossIterationBatchNorm(PastNorms):
    """Normalise by several batches in training. Costs about one more weight gradient for each convolution.

    Args:
        window: k, batches whose statistics are averaged, the present one included, at least 2.
        burn_in: epochs of plain batch norm first, >= 0, while the weights move fast.

    Raises:
        TypeError: for a network without batch norms over maps, or a strategy that shards weights.
        ValueError: if an argument is out of its range, or with another trick that chooses the norms.
    """

    needs = (Range("window", 2), Range("burn_in", 0))
    examples = ({"window": 3, "burn_in": 0},)
    whole_weights = True

    def __init__(self, window: int = 4, burn_in: int = 8):
        self.window, self.burn_in = window, burn_in
        self._reset()

    def _reset(self) -> None:
        self._past: dict[str, list[Past]] = {}  # by norm, the newest last
        self._seen: dict[str, Past] = {}  # of the present batch
        self._last: tuple[nn.Conv2d, Tensor, Tensor] | None = None  # the last convolution, its input and output

    def acts(self, trainer: L.Trainer) -> bool:
        return trainer.current_epoch >= self.burn_in

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self._reset()

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        convs = [
            m for m in model.modules() if isinstance(m, nn.Conv2d) and m.bias is None and m.padding_mode == "zeros"
        ]
        self.keep_hooks(*(m.register_forward_hook(self._keep) for m in convs if not isinstance(m.padding, str)))

    def _keep(self, conv: nn.Conv2d, inputs: tuple[Tensor], y: Tensor) -> None:
        if self._acts and conv.training and len(conv.weight) == y.shape[1]:  # not after a Maxout
            self._last = conv, inputs[0].detach(), y

    def statistics(self, name: str, norm: nn.BatchNorm2d, x: Tensor, wide: Tensor) -> tuple[Tensor, Tensor] | None:
        last, self._last = self._last, None
        if last is None or last[2] is not x:  # no convolution is right before this norm
            return None
        m, n = moments(wide)
        with torch.no_grad():
            self._seen[name] = look_back(last[1], wide, last[0])
            there = [Past(*(v.to(x.device) for v in past)) for past in self._past.get(name, [])]
            past = [correct(each, last[0].weight) for each in there]
        count = 1 + len(past)
        return (m + sum(p[0] for p in past)) / count, (n + sum(p[1] for p in past)) / count

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: object) -> None:
        super().on_train_batch_end(trainer, model)
        average_over_processes(trainer, [value for seen in self._seen.values() for value in seen[:4]])
        for name, seen in self._seen.items():
            self._past[name] = [*self._past.get(name, []), seen][1 - self.window :]
        self._seen, self._last = {}, None

    def state_dict(self) -> dict[str, Any]:
        return {name: [[v.cpu() for v in past] for past in those] for name, those in self._past.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._past = {name: [Past(*past) for past in those] for name, those in state.items()}

    def draw(self) -> Picture:
        """Draw the running mean of a batch norm over a run of 30 steps, without a burn-in."""
        return PastNorms.draw(CrossIterationBatchNorm(self.window, 0))
