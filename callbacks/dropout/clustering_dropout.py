"""Clustering dropout: group units by their mean response, and drop units of weak groups more often.

Paper:    Clustering-Based Adaptive Dropout for CNN-Based Classification (Wen, Ke, Xie, Shen; ACPR 2019, Pattern
          Recognition, LNCS 12046, pp. 46-58) https://doi.org/10.1007/978-3-030-41404-7_4
Code:     none found
Equation: r_i = mean |x_i|, averaged over batches: r_i <- decay r_i + (1 - decay) mean |x_i|;
          of "derivatives": the same with dL/dx_i in the place of x_i;
          K groups of units by k-means of r, of means g_k;
          p_k = low + (high - low) (max g - g_k) / (max g - min g);
          y_i = m_i x_i / (1 - p_k(i)),  m_i ~ Bernoulli(1 - p_k(i)) for each example
Shapes:   vectors (N, D), or channels of tokens (N, L, D) and maps (N, C, H, W) -> same
Defaults: clusters = 3 (K: three levels are pictured in the paper), where = "classifier" (its fully connected layer);
          of = "features", low = .1, high = .7, every = 100 batches, decay = .9: ours
Differs:  the equations are ours. We know from the paper that units are clustered, by features or by derivatives, and
          that a group's probability falls with its mean response. Its clusters of weights: `ClusteringDropConnect`.
          In the first batch, before any grouping, and if all groups are equal, p is the mean of low and high.
"""

from functools import partial
from typing import Literal, get_args

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.group_rates import RANGES, unit_rates
from callbacks.frame.masks import draws, per_channel
from callbacks.frame.needs import Choice
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where

Of = Literal["features", "derivatives"]


def responses(x: Tensor) -> Tensor:
    """Return the mean |x| of each unit, (D,), float32."""
    return x.float().abs().movedim(2 if x.ndim == 3 else 1, -1).flatten(0, -2).mean(0)


class ClusteringDropout(FeatureDropout):
    """Drop units by their group, before the classifier or in the modules of `where`.

    Args:
        low: probability to be dropped in the group with the largest responses, in [0, 1).
        high: probability in the group with the smallest responses, in (0, 1).
        clusters: number of groups, at least 2.
        every: batches between two groupings.
        decay: fraction of the old average of responses that stays at each batch, in [0, 1).
        of: what a unit's response is: its "features", or the loss's "derivatives" by them.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`; for low > high.
    """

    needs = (*RANGES, Choice("of", get_args(Of)))
    examples = (
        {"low": 0.2, "high": 0.5, "clusters": 2, "every": 1, "decay": 0.5, "where": ("stage2",), "participation": 0.5},
        {"of": "derivatives", "every": 1},
    )
    acts_on = ANY

    def __init__(
        self,
        low: float = 0.1,
        high: float = 0.7,
        clusters: int = 3,
        every: int = 100,
        decay: float = 0.9,
        where: Where = "classifier",
        participation: Rate = 1.0,
        of: Of = "features",
    ):
        super().__init__(0.5, where, participation)  # each group has its own rate: this one is not used
        self.low, self.high, self.clusters, self.every, self.decay = low, high, clusters, every, decay
        self.of = of
        self._reset()

    def _reset(self) -> None:
        # by module: responses of this batch, their average, and probabilities, each (D,)
        self._seen: dict[str, Tensor] = {}
        self._average: dict[str, Tensor] = {}
        self._rates: dict[str, Tensor] = {}
        self._batches = 0

    def drop(self, x: Tensor, p: float) -> Tensor:
        if self.of == "derivatives" and x.requires_grad:
            x.register_hook(partial(self._keep, self._place))
        return super().drop(x, p)

    def _keep(self, name: str, x: Tensor) -> None:
        self._seen[name] = responses(x)

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        if self.of == "features":
            self._keep(self._place, x)
        rates = self._rates.get(self._place)
        units, mean = x.shape[2 if x.ndim == 3 else 1], (self.low + self.high) / 2
        rates = torch.full((units,), mean, device=x.device) if rates is None else rates.to(x.device)
        rates = rates[:, None, None] if x.ndim == 4 else rates
        return (draws(x, *per_channel(x)) >= rates) / (1 - rates)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            self._reset()

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        """Update the averages, equal on all ranks, and group the units every `every` batches."""
        seen, self._seen = self._seen, {}
        if not seen:  # it does not act at this step
            return
        for name, r in seen.items():
            r = trainer.strategy.reduce(r, reduce_op="mean")
            before = self._average.get(name)
            r = r if before is None else torch.lerp(r, before.to(r), self.decay)
            self._average[name] = r  # r <- decay r + (1 - decay) mean |x|
            if self._batches % self.every == 0:
                self._rates[name] = unit_rates(r, self.clusters, self.low, self.high)
        self._batches += 1

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().leave(trainer, model)
        self._seen = {}

    def state_dict(self) -> dict:
        tables = {"average": self._average, "rates": self._rates}
        tables = {key: {name: v.cpu() for name, v in table.items()} for key, table in tables.items()}
        return super().state_dict() | tables | {"batches": self._batches}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self._average, self._rates = dict(state["average"]), dict(state["rates"])
        self._batches = state["batches"]
