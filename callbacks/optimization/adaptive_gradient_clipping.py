"""Adaptive gradient clipping: bound each unit's gradient by a fraction of the norm of the unit's weights.

Paper:    High-Performance Large-Scale Image Recognition Without Normalization (Brock, De, Smith, Simonyan; ICML 2021)
          https://arxiv.org/abs/2102.06171, section 4.1, eq. 3
Code:     timm `adaptive_clip_grad` and `--clip-mode agc`
Equation: G_i <- lambda max(|W_i|, eps) / |G_i| G_i   where |G_i| / max(|W_i|, eps) > lambda
Shapes:   i is an output unit: a row of W, (out, ...) -> (out,) norms; the whole of a vector
Defaults: factor = .01 (lambda) and eps = 1e-3, timm's
Differs:  nothing known. To clip by global norm or by value: `GradientClipping`.
"""

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from callbacks.frame.depth import depths
from callbacks.frame.loss_scale import needs_unscaled
from callbacks.frame.needs import Range
from callbacks.frame.rows import over_rows
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.trick import Trick
from zoo.frame.sharded import own, whole


@torch.no_grad()
def clip(weights: list[Tensor], gradients: list[Tensor], factor: float, eps: float) -> None:
    """Clip gradients in place, unit by unit, as in the equation.

    Args:
        weights: W, each (out, ...) or a vector.
        gradients: G, of the same shapes; changed in place.
        factor: lambda.
        eps: lower bound of the weights' norm.
    """

    def scale(w: Tensor, g: Tensor) -> Tensor:
        """Return lambda max(|W_i|, eps) / |G_i| where that is below 1, else 1."""
        allowed, norm = w.norm(dim=1).clamp_(min=eps).mul_(factor), g.norm(dim=1)
        return torch.where(norm > allowed, allowed / norm, 1.0)

    rows = [[one if one.ndim > 1 else whole(one) for one in tensors] for tensors in (weights, gradients)]
    torch._foreach_mul_([own(g) for g in gradients], over_rows(scale, *([own(one) for one in each] for each in rows)))


class AdaptiveGradientClipping(Trick):
    """Clip the gradients of each optimizer step of any LightningModule. The head is left alone, as in the paper.

    Args:
        factor: lambda, largest ratio of a gradient's norm to its weights' norm, > 0, or a `Schedule`.
        eps: lower bound of the weights' norm, > 0, so that weights that start at zero can move.

    Raises:
        ValueError: for a factor or an eps out of its range.
        TypeError: with 16-bit scaling and an optimizer that unscales gradients itself (`fused`).
    """

    picture = "gradients"
    needs = (Range("factor", 0, open_low=True), Range("eps", 0, open_low=True))
    reads_weights = True
    examples = ({"factor": Linear(0.01, 0.1), "eps": 0.01},)

    def __init__(self, factor: Rate = 0.01, eps: float = 1e-3):
        self.factor = factor
        self.eps = eps

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        needs_unscaled(self, trainer)
        layers = depths(model)
        self._head = {p for name, p in model.named_parameters() if layers[name] == max(layers.values())}

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Optimizer) -> None:
        """Clip the gradients of the step: by now, accumulated ones are summed and the loss scale is removed."""
        held = [p for group in optimizer.param_groups for p in group["params"]]
        clipped = [p for p in held if p.grad is not None and p not in self._head]
        if clipped:
            clip(clipped, [p.grad for p in clipped], rate_now(self.factor, trainer), self.eps)
