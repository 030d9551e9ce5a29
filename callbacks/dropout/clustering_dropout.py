"""Clustering dropout: group units by their mean response, and drop units of weak groups more often.

Paper:    Clustering-Based Adaptive Dropout for CNN-Based Classification (Wen, Ke, Xie, Shen; ACPR 2019, Pattern
          Recognition, LNCS 12046, pp. 46-58) https://doi.org/10.1007/978-3-030-41404-7_4
Code:     none found
Equation: r_i = mean |x_i|, averaged over batches: r_i <- decay r_i + (1 - decay) mean |x_i|;
          K groups of units by k-means of r, of means g_k;
          p_k = low + (high - low) (max g - g_k) / (max g - min g);
          y_i = m_i x_i / (1 - p_k(i)),  m_i ~ Bernoulli(1 - p_k(i)) for each example
Shapes:   vectors (N, D), or channels of tokens (N, L, D) and maps (N, C, H, W) -> same
Defaults: clusters = 3 (K: three levels are pictured in the paper), where = "classifier" (its fully connected layer);
          low = .1, high = .7, every = 100 batches, decay = .9: ours
Differs:  the equations are ours. We know from the paper that units are clustered, and that a group's probability
          falls with its mean response. The paper also clusters weights and derivatives, which we leave out. In the
          first batch, before any grouping, and if all groups are equal, p is the mean of low and high.
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.masks import draws, per_channel
from callbacks.frame.needs import Range
from callbacks.frame.places import Where
from callbacks.frame.schedule import Rate

ROUNDS = 20  # of k-means: a few are enough in one dimension, from quantiles


def responses(x: Tensor) -> Tensor:
    """Return the mean |x| of each unit, (D,), float32."""
    return x.float().abs().movedim(2 if x.ndim == 3 else 1, -1).flatten(0, -2).mean(0)


def clusters(r: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Group numbers by k-means, which starts from quantiles.

    Args:
        r: (D,).
        k: number of groups.

    Returns:
        The group of each number, (D,), and the means of the groups, (k,).
    """
    centres = r.quantile((torch.arange(k, device=r.device) + 0.5) / k)
    for _ in range(ROUNDS):
        member = ((r[:, None] - centres).abs().argmin(1, keepdim=True) == torch.arange(k, device=r.device)).to(r.dtype)
        count = member.sum(0)
        centres = torch.where(count > 0, (member * r[:, None]).sum(0) / count.clamp_min(1), centres)
    return (r[:, None] - centres).abs().argmin(1), centres


def unit_rates(r: Tensor, k: int, low: float, high: float) -> Tensor:
    """Return each unit's probability to be dropped, p of the equation.

    Args:
        r: responses (D,).
        k: number of groups.
        low: probability in the group with the largest responses.
        high: probability in the group with the smallest responses.

    Returns:
        (D,).
    """
    label, centres = clusters(r, k)
    g = centres[label]
    span = g.max() - g.min()
    weakness = torch.where(span > 0, (g.max() - g) / span.clamp_min(torch.finfo(g.dtype).tiny), 0.5)
    return low + (high - low) * weakness


class ClusteringDropout(FeatureDropout):
    """Drop units by their group, before the classifier or in the modules of `where`.

    Args:
        low: probability to be dropped in the group with the largest responses, in [0, 1).
        high: probability in the group with the smallest responses, in (0, 1).
        clusters: number of groups, at least 2.
        every: batches between two groupings.
        decay: fraction of the old average of responses that stays at each batch, in [0, 1).
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`; for low > high.
    """

    needs = (
        Range("high", 0, 1, open_low=True, open_high=True),
        Range("low", 0, "high"),
        Range("decay", 0, 1, open_high=True),
        Range("clusters", 2),
        Range("every", 1),
    )
    examples = (
        {"low": 0.2, "high": 0.5, "clusters": 2, "every": 1, "decay": 0.5, "where": ("stage2",), "participation": 0.5},
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
    ):
        super().__init__(0.5, where, participation)  # each group has its own rate: this one is not used
        self.low, self.high, self.clusters, self.every, self.decay = low, high, clusters, every, decay
        self._reset()

    def _reset(self) -> None:
        # by module: responses of this batch, their average, and probabilities, each (D,)
        self._seen: dict[str, Tensor] = {}
        self._average: dict[str, Tensor] = {}
        self._rates: dict[str, Tensor] = {}
        self._batches = 0

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        self._seen[self._place] = seen = responses(x)
        rates = self._rates.get(self._place)
        rates = torch.full_like(seen, (self.low + self.high) / 2) if rates is None else rates.to(x.device)
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
