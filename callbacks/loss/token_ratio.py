"""Token ratio: keep the fraction of patches that a DynamicViT keeps near its target.

Paper:    DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification (Rao, Zhao, Liu, Lu, Zhou, Hsieh;
          NeurIPS 2021) https://arxiv.org/abs/2106.02034, equation 15
Code:     https://github.com/raoyongming/DynamicViT at 1322e62 (the authors'; `losses.py`)
Equation: L' = L + lambda / S sum_s mean_n (rho_s - 1/L sum_i D_ni^s)^2
Shapes:   decisions D^s (N, L) of S predictors, targets rho_s -> scalar
Defaults: weight = 2 (lambda; section 4; the authors' README: 5 for DeiT-B); rho_s = keep^s, the model's `ratios`
Differs:  nothing. Decisions are random, so that the term ends near sum_s rho_s (1 - rho_s) / (L S), not at 0.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.model_needs import HasModule
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, rate_now, rate_values
from callbacks.frame.trick import Trick
from zoo import Step
from zoo.frame.figures import Picture


def ratio_loss(kept: Sequence[Tensor], ratios: Sequence[float]) -> Tensor:
    """Return the term of the equation above without lambda, a scalar.

    Args:
        kept: S decisions (N, L), 0 or 1.
        ratios: S targets, in (0, 1].
    """
    return torch.stack([(D.float().mean(1) - rho).square() for D, rho in zip(kept, ratios, strict=True)]).mean()


@runtime_checkable
class Deciding(Protocol):
    """A network that decides which patches it keeps."""

    @property
    def ratios(self) -> Sequence[float]: ...


class TokenRatio(Trick):
    """Add the squared distance between kept fractions and targets of a `DynamicViT` to the loss.

    Args:
        weight: lambda, > 0, or a `Schedule`.

    Raises:
        ValueError: if the weight is out of its range.
        TypeError: if the LightningModule makes no decisions or does not call `on_loss`; the message says what to add.
    """

    needs = (
        Range("weight", 0, off_at_low=True),
        HasModule(
            lambda module: isinstance(module, Deciding),
            "needs decisions which patches stay",
            "take DynamicViT, or give `ratios` (targets) and, in training, extras['kept'] (decisions (N, L))",
        ),
    )
    examples = ({"weight": 5.0},)
    taxonomy = "penalty"
    _network: Deciding | None = None

    def __init__(self, weight: Rate = 2.0):
        self.weight = weight

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self._network = next(module for module in model.modules() if isinstance(module, Deciding))

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        assert self._network is not None, "found by `prepare`"
        term = ratio_loss(step.extras["kept"], self._network.ratios)
        step.loss = step.loss + rate_now(self.weight, model.trainer) * term

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._network = None

    def draw(self) -> Picture:
        """Draw the term over the fraction of patches that is kept, for three targets."""
        from callbacks.frame.pictures.curves import panels

        kept = torch.linspace(0, 1, 51)
        factor = max(rate_values(self.weight))
        terms = {rho: [factor * ratio_loss([k.view(1, 1)], [rho]).item() for k in kept] for rho in (0.7, 0.49, 0.343)}
        lines = {f"target {rho}": (kept.tolist(), term) for rho, term in terms.items()}
        return panels({"term of the loss": lines}, "fraction of patches kept", f"What {self!r} adds to the loss.")
