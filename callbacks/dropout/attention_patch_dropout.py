"""AttentionPatchDropout: drop the patches with the most attention, or with the least.

Paper:    none: ours, between PatchDropout https://arxiv.org/abs/2208.07220, which drops at random, and EViT
          https://arxiv.org/abs/2202.07800, which drops the patches with the least attention
Code:     none
Equation: a_i = 1/H sum_h softmax_i(q_class K^T / sqrt(d)), of one block, without gradient;  g_i Gumbel noise
          the K = L - floor(rate L) patches with the largest +-log a_i / tau + g_i stay:  + drops "low", - drops "high";
          tau -> infinity is PatchDropout; tau = 0 takes +-a_i alone
Shapes:   tokens (N, P + L, D) -> (N, P + K, D) after that block, P the class and teacher's tokens
Defaults: rate = .25, where = 3 (DynamicViT and EViT begin after the third block), drop = "high" (the network learns
          from what it would have overlooked, as with ADL and FocusedDropout), tau = 1 (in proportion to 1 / a): all
          ours
Differs:  no paper to differ from. It acts in training only, in all four modes (two drops, drawn or not). For a network
          that is smaller in evaluation too, take `EViT`: drop="low", tau=0, with the dropped patches fused. "high"
          could also draw the dropped patches in proportion to a; here the kept ones are drawn in proportion to 1 / a.
          Nothing is scaled: attention's weights sum to 1 again.
"""

from typing import Any, Literal, get_args

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.dropout.patch_dropout import Fraction, fraction_now, fraction_values
from callbacks.frame.needs import Choice, Range
from callbacks.frame.tokens import SHORTENED, prefix_of, vit_to_shorten
from callbacks.frame.trick import Trick
from zoo.layers.attention import attention
from zoo.layers.patch_embed import take_patches

Drop = Literal["high", "low"]


def choose(scores: Tensor, u: Tensor, count: int, drop: Drop, tau: float) -> Tensor:
    """Choose the patches to keep.

    Args:
        scores: a (N, L), > 0.
        u: uniform draws (N, L) in [0, 1), the noise g = -log(-log u).
        count: K, number of patches kept.
        drop: drop patches with "high" or with "low" scores.
        tau: temperature; 0: no noise, inf: noise alone.

    Returns:
        Indices (N, K), ascending.
    """
    sign = 1 if drop == "low" else -1
    keys = sign * scores if tau == 0 else sign * scores.clamp(min=1e-30).log() / tau - (-u.log()).log()
    return keys.topk(count).indices.sort(1).values


def class_attention(qkv: Tensor, attn: nn.Module, prefix: int) -> Tensor:
    """Return a, the attention of the class token to the patches, in float32 and without gradient.

    Args:
        qkv: queries, keys and values (N, P + L, 3 D).
        attn: the attention that computed them, ours or timm's.
        prefix: P, the tokens before the patches.

    Returns:
        The mean over heads, (N, L).
    """
    heads = getattr(attn, "heads", getattr(attn, "num_heads", None))
    q, k, _ = qkv.detach().float().unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    norm_q, norm_k = getattr(attn, "q_norm", nn.Identity()), getattr(attn, "k_norm", nn.Identity())
    q, k = norm_q(q[:, :, :1]), norm_k(k)
    return attention(q, k, k)[1][:, :, 0, prefix:].mean(1)


class AttentionPatchDropout(Trick):
    """Drop patches of each training image after one block, by its class token's attention. In evaluation all stay.

    Args:
        rate: fraction of the patches to be dropped, in [0, 1), or a `Schedule`; a pair: uniform between them, drawn for
            each batch.
        where: after which block, from 1 on.
        drop: "high" or "low": drop the patches with the most, or the least attention.
        tau: temperature of the draw, >= 0; 0: no draw; `float("inf")`: attention does not matter.

    Raises:
        ValueError: for an argument out of its range, or a block that is not there.
        TypeError: for a network without class token, whose maps or windows are of a fixed size, that is slim, or that
            drops patches by attention itself.
    """

    picture = "patches"
    needs = (Range("tau", 0), Choice("drop", get_args(Drop)), SHORTENED)
    examples = ({"rate": (0.0, 0.5), "where": 2, "drop": "low", "tau": 0.0},)
    drops_patches = True

    def __init__(self, rate: Fraction = 0.25, where: int = 3, drop: Drop = "high", tau: float = 1.0):
        if not all(0 <= value < 1 for value in fraction_values(rate)) or rate == 0:
            raise ValueError(
                f"AttentionPatchDropout: rate must be in (0, 1), a schedule or a pair in [0, 1), got {rate}"
            )
        self.rate, self.where, self.tau = rate, where, tau
        self.drop = drop

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        vit: Any = vit_to_shorten(self, model)  # ours or timm's
        if hasattr(vit, "keep"):
            raise TypeError(
                f"{type(vit).__name__} chooses its patches itself: take PatchDropout instead of AttentionPatchDropout"
            )
        if not prefix_of(vit):
            raise TypeError(f"AttentionPatchDropout asks the class token, and {type(vit).__name__} has none")
        if not 1 <= self.where <= len(vit.blocks):
            raise ValueError(f"AttentionPatchDropout: where={self.where}, but there are blocks 1 to {len(vit.blocks)}")

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        vit: Any = vit_to_shorten(self, model)  # ours or timm's
        block: Any = vit.blocks[self.where - 1]
        prefix = prefix_of(vit) or 0
        seen: dict[str, Tensor] = {}

        def look(layer: nn.Module, inputs: tuple, qkv: Tensor) -> None:
            if layer.training:
                seen["qkv"] = qkv

        def leave(block: Any, inputs: tuple, tokens: Tensor) -> Tensor:
            if not block.training:
                return tokens
            scores = class_attention(seen.pop("qkv"), block.attn, prefix)
            count = max(1, scores.shape[1] - int(scores.shape[1] * self._now))
            return take_patches(tokens, choose(scores, torch.rand_like(scores), count, self.drop, self.tau), prefix)

        self.keep_hooks(block.attn.qkv.register_forward_hook(look), block.register_forward_hook(leave))

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._now = fraction_now(self.rate, trainer)
