"""Guided dropout: learn a strength for each unit, and drop strong units, so that weak ones learn.

Paper:    Guided Dropout (Keshari, Singh, Vatsa; AAAI 2019) https://arxiv.org/abs/1812.03965
Code:     https://github.com/lingjivoo/guided-dropout-pytorch at d9ca6c8 (unofficial)
Equation: z = t m x,  t a learned number for each unit;  evaluation z = t x.
          "top-k": m = 0 for the int(p D) units of largest |t|;
          "dr": m ~ Bernoulli(1 - p) for the active units, those of |t| >= active max |t|, and 1 for the others
Shapes:   the input of a linear layer, (N, D) or (N, L, D), or of a convolution, (N, C, H, W) -> same;  one mask for a
          batch
Defaults: p = .2, t drawn from U(0, 1), no scale (the unofficial code's); kind = "dr", the better one in the paper's
          tables; active = .2, where = "classifier": ours, the paper has it in all hidden layers
Differs:  `active`, which tells active units from others, is ours. The unofficial code's inactive units are those in
          the fullest of 100 bins of |t|, and its p falls at two epochs: `Steps(.2, {2: .15, 150: .1})`. The strengths
          are weights of the layer that reads the units: they stay with the network, and weight decay and averages act
          on them too.
"""

from functools import partial
from typing import Literal, get_args

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.masks import largest_mask
from callbacks.frame.needs import Choice, Range
from callbacks.frame.pair_needs import Claims, NoHeadMadeAfter
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where
from callbacks.loss.auxiliary_heads import NAME
from zoo.frame.figures import Picture
from zoo.frame.surgery import operate, operation

Kind = Literal["top-k", "dr"]


def mask_of_strongest(t: Tensor, count: float) -> Tensor:
    """Return 0 for the floor(count) units of largest |t| (D,), 1 for the others."""
    return (~largest_mask(t.abs()[None], count)[0]).float()


def mask_of_active(t: Tensor, u: Tensor, p: float, active: float) -> Tensor:
    """Return 0 for active units where u < p, else 1. `t`, `u`: (D,), strengths and uniform draws in [0, 1)."""
    strength = t.abs()
    return ((strength < active * strength.amax()) | (u >= p)).float()


class Guided(nn.Module):
    """Multiply each unit of a layer's input by its strength."""

    strength: Tensor

    def scale_by_strength(self, x: Tensor) -> Tensor:
        t = self.strength.to(x.dtype)
        return x * (t[:, None, None] if isinstance(self, nn.Conv2d) else t)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.scale_by_strength(x))


class GuidedLinear(Guided, nn.Linear):
    """An nn.Linear with a strength for each input, (in_features,)."""


class GuidedConv2d(Guided, nn.Conv2d):
    """An nn.Conv2d with a strength for each input channel, (in_channels,)."""


KINDS = {nn.Linear: (GuidedLinear, "in_features"), nn.Conv2d: (GuidedConv2d, "in_channels")}


@operation("GuidedDropout")
def add_strengths(network: nn.Module, where: list[str]) -> None:
    """Give the layers at these paths a strength for each unit of their input, in place."""
    for layer in map(network.get_submodule, where):
        if isinstance(layer, Guided):
            continue
        kind, units = KINDS[type(layer)]
        layer.__class__ = kind  # its weights, hooks and name stay
        device = layer.get_parameter("weight").device
        layer.strength = nn.Parameter(torch.rand(getattr(layer, units), device=device))


class GuidedDropout(FeatureDropout):
    """Drop units by their strength, before the classifier or before the layers of `where`.

    Changes the network: the layers get strengths. Checkpoints remember it, and `zoo.load` gives the changed network.
    After training, only the masks are gone.

    Args:
        p: fraction ("top-k") or probability ("dr") to be dropped, in (0, 1), or a `Schedule`.
        kind: "top-k" or "dr".
        active: units at or above this fraction of the largest strength are active, in [0, 1]; for "dr".
        where: "classifier", or paths of linear layers and convolutions: their input is dropped.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError: as `FeatureDropout`; for a second GuidedDropout.
        TypeError: for a module that is no linear layer or convolution.
    """

    needs = (Claims("give units a strength"), NoHeadMadeAfter(), Range("active", 0, 1), Choice("kind", get_args(Kind)))
    examples = ({"p": 0.4, "kind": "top-k", "active": 0.5, "participation": 0.5},)
    acts_on = ANY
    draws_once = True

    def __init__(
        self,
        p: Rate = 0.2,
        kind: Kind = "dr",
        active: float = 0.2,
        where: Where = "classifier",
        participation: Rate = 1.0,
    ):
        super().__init__(p, where, participation)
        self.kind = kind
        self.active = active
        if where in (None, "input"):
            raise ValueError(f"GuidedDropout: where={where!r} is no layer: name layers, or leave the classifier")
        self._layers: dict[str, nn.Module] = {}

    def named_modules(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        # auxiliary heads are removed after training
        found = [(name, layer) for name, layer in super().named_modules(model) if not name.startswith(NAME)]
        for name, layer in found:
            if type(layer) not in KINDS and not isinstance(layer, Guided):
                raise TypeError(
                    f"GuidedDropout acts on what nn.Linear and nn.Conv2d read, and {name!r} is a "
                    f"{type(layer).__name__}: name other layers, where='path.of.layer'"
                )
        return found

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if stage == "fit":
            paths = {id(m): path for path, m in model.named_modules()}
            operate(model, "GuidedDropout", where=[paths[id(layer)] for _, layer in self.named_modules(model)])

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_fit_start(trainer, model)
        self._layers = dict(self.named_modules(model))

    def register_hook(self, name: str, module: nn.Module, factor: float) -> RemovableHandle:
        return module.register_forward_pre_hook(partial(self._before, name, factor))

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        layer = self._layers[self._place]
        t = layer.get_parameter("strength").detach().float()
        if self.kind == "dr":
            kept = mask_of_active(t, self.shared_draws(x, len(t)), p, self.active)
        else:
            kept = mask_of_strongest(t, p * len(t))
        return kept[:, None, None] if isinstance(layer, nn.Conv2d) else kept

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().leave(trainer, model)
        self._layers = {}

    def draw(self) -> Picture:
        """Draw the mask on what a convolution reads, whose strengths are as they start."""
        from callbacks.frame.pictures.features import draw

        return draw(self, "network.conv")
