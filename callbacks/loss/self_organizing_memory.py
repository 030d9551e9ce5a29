"""Self-organizing memory: learn from bags of web images, in which a memory of clusters says what is to be trusted.

Paper:    Learning from Web Data with Self-Organizing Memory Module (Tu, Niu, Chen, Cheng, Zhang; CVPR 2020)
          https://arxiv.org/abs/1906.12028
Code:     none found
Equation: z = argmax_l sum_j G_lj (h . k_j) / |h|, the place of a region's features h among keys k on a square grid
          d = V_zc / sum_k V_zk, whether the place is found in class c alone;  r = V_zc / sum_l V_lc, how much of c is
          there;  w_c = (L d r + 1e-6)^a, scaled to a sum of 1 over the regions of class c in the batch, its bag
          g_c = sum w_c h;   L = mean over the bags of -log softmax(W g_c + b)_c
          memory, for each bag with u = g_c / |g_c| of place z:  k_l <- (k_l + eta G_zl (u - k_l)) / |...|,
          V_lc <- (1 - mu) V_lc + mu G_zl
Shapes:   images (N, C, H, W) -> regions (6 N, C, H, W);  logits (M, K), features (M, D), targets (M,) or y (M, K) ->
          scalar;  keys (L, D), values (L, K)
Defaults: side = 8 (L = 64), sigma = Linear(2, .5) (of G, a Gaussian of the distance on the grid, rows sum to 1),
          power = Linear(0, 1, "0.33dur") (a), eta = .1, mu = .01, start = "0.1dur", where the memory begins: all ours
Differs:  equations and numbers are ours: of the paper we know the bags, the discriminative and the representative score
          by the nearest cluster, the map and the curriculum. Regions are the image, four corners and the centre, where
          the paper has proposals. A bag is all of a class in the batch. The memory begins with keys of L regions of one
          batch, evenly spaced, and an equal V; until then all weights are equal. Mixed targets put a region into
          several bags. Where many bags pull at one key in a step, they share one step of the whole way.
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.frame.head import head_of
from callbacks.frame.loss import Replacing
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.regions import COUNT, regions
from callbacks.frame.schedule import Linear, Rate, Time, in_steps, rate_now
from callbacks.frame.self_organizing import Memory, count, first, move, neighbours, winners
from callbacks.frame.targets import probabilities
from zoo import Step
from zoo.frame.figures import Picture

EPS = 1e-6
SHRINKING, RISING = Linear(2.0, 0.5), Linear(0.0, 1.0, "0.33dur")


def trust(values: Tensor, z: Tensor) -> Tensor:
    """Return L d r of regions at places z (M,) in each class, (M, K), from the memory's values V (L, K)."""
    found = values[z]
    return len(values) * (found / found.sum(1, keepdim=True)) * (found / values.sum(0))


def bags(w: Tensor, y: Tensor) -> Tensor:
    """Scale the weights (M, K) of regions that are in class k with share y (M, K) to a sum of 1 over each class."""
    inside = w * y
    return inside / inside.sum(0).clamp(min=torch.finfo(inside.dtype).tiny)


class SelfOrganizingMemory(Replacing):
    """Train on bags: the images of a class in the batch and five regions of each, weighted by a memory.

    A step takes six times as long. Batches need several images of each class: `per_class=4` of the data module.

    Args:
        side: sides of the grid of clusters, at least 2.
        sigma: width of the neighbourhood on the grid, > 0, or a `Schedule`.
        power: how much the weights count, in [0, 1], or a `Schedule`; 0: all regions count alike.
        eta: rate of the keys, in [0, 1].
        mu: rate of the values, in [0, 1].
        start: when the memory begins: a number of epochs, or "0.1dur", "10ep", "500st".

    Raises:
        ValueError: if an argument is out of its range, with another loss, or after a trick that adds to the loss.
        TypeError: if the LightningModule does not call `on_loss`, or does not end in a linear layer.
    """

    changes_batch = needs_labels = True
    needs = (
        Claims("enlarge the batch"),
        *(Range("side", 2), Range("sigma", 0, open_low=True)),
        *(Range(name, 0, 1) for name in ("power", "eta", "mu")),
    )
    examples = ({"side": 2, "sigma": 1.0, "power": 0.5, "eta": 0.5, "mu": 0.1, "start": 0},)
    _seen: Tensor
    memory: Memory | None = None

    def __init__(
        self,
        side: int = 8,
        sigma: Rate = SHRINKING,
        power: Rate = RISING,
        eta: float = 0.1,
        mu: float = 0.01,
        start: Time = "0.1dur",
    ):
        self.side, self.sigma, self.power = side, sigma, power
        self.eta, self.mu, self.start = eta, mu, start

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        head_of(self, model)
        if stage == "fit":
            self.memory = None

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._seen, self.memory = torch.empty(0), self.memory and Memory(*(x.to(model.device) for x in self.memory))
        self.keep_hooks(head_of(self, model).register_forward_pre_hook(self._catch))

    def _catch(self, head: nn.Linear, inputs: tuple[Tensor]) -> None:
        if inputs[0].ndim == 2:  # some networks also apply the head to each token, (N, L, D)
            self._seen = inputs[0].detach()

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        batch[:] = [regions(batch[0]), torch.cat([batch[1]] * COUNT)]

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            h, y = self._seen.float(), probabilities(step.targets, step.logits.shape[1]).float()
            near = neighbours(self.side, rate_now(self.sigma, model.trainer), h.device)
            w, there = bags(self._weights(h, y, near) ** rate_now(self.power, model.trainer), y), y.sum(0).clamp(max=1)
            self._learn(model.trainer, h, w.T @ h, there, near)
        own = torch.arange(len(there), device=h.device)
        step.loss = step.over_heads(
            lambda z: (there * F.cross_entropy(w.T @ z.float(), own, reduction="none")).sum() / there.sum()
        )

    def _weights(self, h: Tensor, y: Tensor, near: Tensor) -> Tensor:
        """Return what the memory says of each region in each class, of the shape of y (M, K)."""
        if self.memory is None:
            return torch.ones_like(y)
        return trust(self.memory.values, winners(h, self.memory.keys, near)) + EPS

    def _learn(self, trainer: L.Trainer, h: Tensor, g: Tensor, there: Tensor, near: Tensor) -> None:
        """Let the memory learn bags g (K, D), those that are `there` (K,) in [0, 1]; the same on all ranks."""
        if self.memory is None and trainer.global_step < in_steps(self.start, trainer):
            return
        own = torch.eye(len(g), device=g.device).to(g)
        if trainer.world_size > 1:
            g, there, own = (trainer.strategy.all_gather(x).flatten(0, 1) for x in (g, there, own))
        keys, values = self.memory or first(trainer, h, len(near), own.shape[1])
        found = there[:, None] * near[winners(g, keys, near)]
        self.memory = Memory(move(keys, g, self.eta * found), count(values, found, self.mu * own))

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._seen = torch.empty(0)

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.memory is None else {name: x.cpu() for name, x in self.memory._asdict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.memory = Memory(**state) if state else None

    def draw(self) -> Picture:
        """Draw the weight of a region over how much of its class is at its place, and how much of another is."""
        from callbacks.frame.pictures.curves import panels

        own, lines = torch.linspace(0.01, 0.5, 50), {}
        for other in (0.0, 0.1, 0.5):
            values = torch.stack([own, torch.full_like(own, other)], 1)
            places = zip(values, 1 - values, strict=True)
            w = [trust(torch.stack([*pair]), torch.tensor([0]))[0, 0].item() / 2 for pair in places]
            lines[f"another class {other:g}"] = (own.tolist(), w)
        caption = f"What {type(self).__name__} trusts: d r of a region, by the shares of two classes at its place."
        return panels({"d r": lines}, "share of the own class at the place", caption)
