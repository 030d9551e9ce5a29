"""DropHead: drop whole heads of attention, at a rate that falls and rises again.

Paper:    Scheduled DropHead: A Regularization Method for Transformer Models (Zhou, Ge, Xu, Wei, Zhou; Findings of EMNLP
          2020) https://arxiv.org/abs/2004.13342
Code:     https://github.com/Kirill-Kravtsov/drophead-pytorch at 70dcd74 (a port, not the authors')
Equation: o_h' = xi_h o_h H / sum_h xi_h,  xi_h ~ Bernoulli(1 - p), for each example and layer;  o_h a head's output
          before the output projection.  p falls from its start to 0 over the warm-up, then rises to its end
Shapes:   heads (N, H, L, d) -> same
Defaults: p = VShape(.2, .2), which is 0 after a fifth of the run: ours; the paper describes it in words
Differs:  at least one head stays, drawn at random. If all are dropped, the port gives 0 / 0: for DeiT-Ti's three
          heads at p = .2, in one example of 125. In Swin each window has its own draws.
"""

import lightning as L
import timm
import torch
from torch import Tensor, nn

from callbacks.frame.model_needs import HasModule
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, VShape, rate_now
from callbacks.frame.trick import Trick
from zoo.layers.attention import MultiHeadAttention

DEFAULT = VShape(0.2, 0.2)
ATTENTION = (MultiHeadAttention, timm.layers.Attention)


def head_scales(u: Tensor, p: float) -> Tensor:
    """Return what each head's output is multiplied by: 0, or H / sum xi.

    Args:
        u: (N, H), uniform draws in [0, 1). A head stays where u >= p; the one of the largest u always stays.
        p: the probability to be dropped, in [0, 1].
    """
    kept = (u >= p) | (u == u.amax(1, keepdim=True))
    return kept * (u.shape[1] / kept.sum(1, keepdim=True))


class DropHead(Trick):
    """Drop heads in every attention layer, in training. Works on ViT, DeiT, Swin and their relatives, and timm's ViTs.

    Args:
        p: probability that a head is dropped, in [0, 1], or a `Schedule`; the paper's is a `VShape`.

    Raises:
        ValueError: for a probability out of its range.
        TypeError: for a network without such attention.
    """

    picture = "parts"
    needs = (
        Range("p", 0, 1, off_at_low=True),
        HasModule(
            lambda module: isinstance(module, ATTENTION),
            "drops heads of attention",
            "it works on ViT, DeiT and Swin, and on timm's `vit_*` and `deit_*` in zoo.Classifier(...)",
        ),
    )
    examples = ({"p": 0.5},)

    def __init__(self, p: Rate = DEFAULT):
        self.p = p

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        ours = [module.heads_out for module in model.modules() if isinstance(module, MultiHeadAttention)]
        timms = [module for module in model.modules() if isinstance(module, timm.layers.Attention)]
        self.keep_hooks(*(heads_out.register_forward_hook(self._drop) for heads_out in ours))
        self.keep_hooks(*(a.proj.register_forward_pre_hook(self._drop_joined(a.num_heads)) for a in timms))

    def _scales(self, n: int, heads: int, device: torch.device) -> Tensor:
        return head_scales(torch.rand(n, heads, dtype=torch.float32, device=device), self._now)

    def _drop(self, heads_out: nn.Module, inputs: tuple, y: Tensor) -> Tensor:
        """Drop heads of our attention: y (N, H, L, d)."""
        if not heads_out.training:
            return y
        return y * self._scales(y.shape[0], y.shape[1], y.device)[:, :, None, None].to(y.dtype)

    def _drop_joined(self, heads: int):
        """Return a hook that drops heads of timm's attention before the output projection: (N, L, H d)."""

        def drop(proj: nn.Module, inputs: tuple) -> tuple:
            if not proj.training:
                return inputs
            y = inputs[0].unflatten(-1, (heads, -1))
            scales = self._scales(y.shape[0], heads, y.device)[:, None, :, None].to(y.dtype)
            return ((y * scales).flatten(2), *inputs[1:])

        return drop

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._now = rate_now(self.p, trainer)
