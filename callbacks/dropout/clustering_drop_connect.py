"""Clustering dropout of weights: group weights by their size, and drop weights of weak groups more often.

Paper:    Clustering-Based Adaptive Dropout for CNN-Based Classification (Wen, Ke, Xie, Shen; ACPR 2019, Pattern
          Recognition, LNCS 12046, pp. 46-58) https://doi.org/10.1007/978-3-030-41404-7_4
Code:     none found
Equation: r_ij = |w_ij|;  of "derivatives": |dL/dw_ij|, averaged over steps: r <- decay r + (1 - decay) |dL/dw|;
          K groups of weights by k-means of r, of means g_k;
          p_k = low + (high - low) (max g - g_k) / (max g - min g);
          y = (M W / (1 - p)) x + b,  m_ij ~ Bernoulli(1 - p_k(ij)), one mask for a batch
Shapes:   linear layers: (N, D) -> (N, K), (N, L, D) -> (N, L, K);  convolutions: (N, C, H, W) -> (N, K, H', W')
Defaults: clusters = 3 (K: three levels are pictured in the paper), where = "classifier" (its fully connected layer);
          of = "weights", low = .1, high = .7, every = 100 steps, decay = .9: ours, those of `ClusteringDropout`
Differs:  the equations are ours: see `ClusteringDropout`, which groups units by features. Until the first step, and if
          all groups are equal, p is the mean of low and high.
"""

from typing import Literal, get_args

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.dropout.drop_connect import DropConnect, masked_layer
from callbacks.frame.group_rates import RANGES, unit_rates
from callbacks.frame.loss_scale import needs_unscaled
from callbacks.frame.needs import Choice
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where

Of = Literal["weights", "derivatives"]


def running_mean(r: Tensor, before: Tensor | None, decay: float) -> Tensor:
    """Return r <- decay r + (1 - decay) |dL/dw|. A derivative that overflowed in 16 bits leaves its average alone."""
    before = r.nan_to_num(posinf=0.0) if before is None else before.to(r)
    return torch.lerp(torch.where(r.isfinite(), r, before), before, decay)


class ClusteringDropConnect(DropConnect):
    """Drop weights by their group, of the classifier or of the layers of `where`.

    The layer's own weights are never touched: in training its output is computed again from masked ones.

    Args:
        low: probability to be dropped in the group of the largest weights (or derivatives), in [0, 1).
        high: probability in the group of the smallest, in (0, 1).
        clusters: number of groups, at least 2.
        every: optimizer steps between two groupings.
        decay: fraction of the old average of derivatives that stays at each step, in [0, 1).
        of: what is grouped: the "weights", or the loss's "derivatives" by them.
        where: "classifier", or paths of layers.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `DropConnect`; for low > high; for derivatives with a fused optimizer in 16 bits.
    """

    needs = (*RANGES, Choice("of", get_args(Of)))
    examples = (
        {"low": 0.2, "high": 0.5, "clusters": 2, "every": 1, "participation": 0.5},
        {"of": "derivatives", "every": 2, "decay": 0.5},
    )
    whole_weights = True

    def __init__(
        self,
        low: float = 0.1,
        high: float = 0.7,
        clusters: int = 3,
        every: int = 100,
        decay: float = 0.9,
        of: Of = "weights",
        where: Where = "classifier",
        participation: Rate = 1.0,
    ):
        super().__init__(0.5, where, "batch", participation)  # each group has its own rate: this one is not used
        self.low, self.high, self.clusters, self.every, self.decay = low, high, clusters, every, decay
        self.of = of
        self._average: dict[str, Tensor] = {}  # by layer, of the weight's shape
        self._rates: dict[str, Tensor] = {}

    def _connect(self, name: str, factor: float, layer: nn.Module, inputs: tuple, y: Tensor) -> Tensor:
        if not self.is_active(layer):
            return y
        self._place, shape = name, layer.get_parameter("weight").shape
        p = self._rates[name].to(y.device) if name in self._rates else (self.low + self.high) / 2
        return masked_layer(layer, inputs[0], (self.shared_draws(y, *shape) >= p) / (1 - p))

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self._average, self._rates = {}, {}

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_train_start(trainer, model)
        if self.of == "derivatives":
            needs_unscaled(self, trainer)

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: object) -> None:
        """Average the derivatives, and group every `every` steps: the same on all ranks."""
        due = trainer.global_step % self.every == 0
        for name, layer in self.named_modules(model):
            w = layer.get_parameter("weight")
            if self.of == "derivatives":
                if w.grad is None:  # frozen
                    continue
                self._average[name] = running_mean(w.grad.float().abs(), self._average.get(name), self.decay)
            if due:
                r = self._average[name] if self.of == "derivatives" else w.detach().float().abs()
                self._rates[name] = unit_rates(r.flatten(), self.clusters, self.low, self.high).view_as(w)

    def state_dict(self) -> dict:
        tables = {"average": self._average, "rates": self._rates}
        return super().state_dict() | {key: {n: v.cpu() for n, v in table.items()} for key, table in tables.items()}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self._average, self._rates = dict(state["average"]), dict(state["rates"])
