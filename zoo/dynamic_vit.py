"""DynamicViT: a ViT that learns which patches it can do without, and removes them on the way.

Paper:    DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification (Rao, Zhao, Liu, Lu, Zhou, Hsieh;
          NeurIPS 2021) https://arxiv.org/abs/2106.02034, equations 1 to 11 and 17, Table 2; its losses are the tricks
          `TokenRatio` and `TokenDistillation`. Rows "LV-": as `lvvit.py`, with its stem, softened residual, two heads
Code:     https://github.com/raoyongming/DynamicViT at 1322e62 (the authors'); their keys: ViT's and `score_predictor`.
          With random weights, S and LV-S give their logits to 3e-6, in training too with their draws (S)
Block:    after a quarter, a half and three quarters of the blocks a predictor gives each patch
          log pi = log softmax(MLP([local, global])),  global = sum_i D_i u_i / sum_i D_i over patches that are left.
          Training: D <- D * GumbelSoftmax(pi), hard decisions with the soft ones' gradient; the patches stay, but a
          dropped one is seen by itself alone: A_ij = exp(P_ij) G_ij / sum_k exp(P_ik) G_ik,  G_ij = D_j, G_ii = 1.
          Evaluation: the floor(keep^s L) patches with the highest pi go on, s = 1, 2, 3; the rest are removed
Shapes:   (N, 3, S, S) -> (N, 1 + L, D) -blocks; in evaluation L, floor(keep L), floor(keep^2 L), floor(keep^3 L)->
          class token (N, D) -> (N, K);  in training also `extras["kept"]`, three decisions (N, L) in {0, 1}, and
          `extras["tokens"]` (N, L, D), the patches after the last norm
Defaults: keep .7 (Table 2; 31 to 37 % fewer multiply-adds); drop_path 0 (the authors' code; their README .2 for
          B). AdamW, lr 2.5e-4 for 256 images (theirs, for the predictors: 1e-3 for 1024), weight decay .05
Differs:  pi's first column means keep, as in the authors' code; in the paper the second. The softmax is the equation as
          printed. The authors' code adds 1e-6 and takes its maximum over dropped tokens too, so that one large score
          there turns attention into a uniform one. Where all patches are dropped, global is 0; the authors' is 0 / 0.
          Predictors start by keeping the fraction `keep`; the authors' start by keeping half, and come to the fraction
          within 30 epochs. The authors freeze class token and positions, and the backbone for 5 epochs: left to the
          optimizer here. At least one patch stays. Ti and 96, for small images, are ours; so are patches of S/8 px up
          to 64 px.
          In training, LV- rows add the largest of the kept patches' logits, as in evaluation; the authors train the two
          heads apart, the patches' by a teacher's logits alone (`TokenDistillation` compares features).
"""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.outputs import Outputs
from zoo.layers.drop_path import linear_rates
from zoo.layers.init import normal_02_linear
from zoo.layers.masked_attention import MaskedAttention
from zoo.layers.patch_embed import ConvStem, take_patches
from zoo.layers.token_classifier import DEIT_NAMES, TokenClassifier, TokenRow, check_keep
from zoo.layers.transformer import Block, SoftenedBlock


@dataclass(frozen=True, kw_only=True)
class Row(TokenRow):
    """The transformer of a variant."""

    stem: int | None = None  # LV- rows: channels of LV-ViT's stem
    a: float = 1.0  # LV- rows: divisor of each branch


# DeiT-Ti, -S and -B, the README's DeiT of width 256, LV-ViT-S and -M, ours for images of 16 px
VARIANTS = {
    "Ti": Row(192, 12, 3),
    "256": Row(256, 12, 4),
    "S": Row(384, 12, 6),
    "B": Row(768, 12, 12),
    "LV-S": Row(384, 16, 6, stem=64, a=2),
    "LV-M": Row(512, 20, 8, stem=64, a=2),
    "96": Row(96, 4, 3, across=4),
}


def decide(log_pi: Tensor, noise: Tensor) -> Tensor:
    """Compute equation 7: keep or drop by Gumbel noise. Exactly 0 or 1, with the gradient of the softmax.

    Args:
        log_pi: (N, L, 2), keep first.
        noise: of the same shape, Gumbel.

    Returns:
        Decisions (N, L).
    """
    soft = (log_pi + noise).softmax(-1)[..., 0]
    return (soft > 0.5).to(soft.dtype) + (soft - soft.detach())


def gumbel_noise(like: Tensor) -> Tensor:
    """Draw -log E, E exponential, in the shape of `like`: the draws that torch's own `gumbel_softmax` makes."""
    return -torch.empty_like(like).exponential_().log()


class Predictor(nn.Module):
    """Equations 1 to 5: how much each patch is needed. Shapes: (N, L, D), (N, L) -> log pi (N, L, 2), keep first."""

    def __init__(self, width: int):
        super().__init__()
        self.in_conv = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        halves = (nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width // 4), nn.GELU())
        self.out_conv = nn.Sequential(*halves, nn.Linear(width // 4, 2), nn.LogSoftmax(-1))

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        x, kept = self.in_conv(x), kept[..., None]
        own, others = x.chunk(2, -1)
        mean = (others * kept.to(x.dtype)).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1).to(x.dtype)
        return self.out_conv(torch.cat([own, mean.expand_as(own)], -1))


@torch.no_grad()
def start_at(predictor: nn.Module, keep: float) -> None:
    """Let an untrained predictor keep each patch with probability `keep`, at most .99: its bias is log pi."""
    p = min(keep, 0.99)
    bias: Tensor = predictor.get_parameter("out_conv.4.bias")
    bias.copy_(torch.tensor([p, 1 - p]).log())


class DynamicViT(TokenClassifier):
    """`DynamicViT("S", keep=0.7, weights="timm:deit_small_patch16_224.fb_in1k")`, to be fine-tuned from a dense DeiT.

    Train it with `TokenRatio()`, which holds the fraction of kept patches, and `TokenDistillation(dense)`. Weights of a
    dense ViT, DeiT or (LV- rows) LVViT fit; the predictors then keep their random start. Evaluation is faster than the
    dense model's; training is not, because it masks patches. The stages are the four quarters of the blocks. In
    evaluation their features are tokens, the class token first, fewer from stage to stage.

    Args:
        keep: fraction of the patches that each of the three predictors lets through, in (0, 1]; may be set later.
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.

    Raises:
        ValueError: an image size that is no multiple of the patch, or `keep` out of its range.
    """

    variants = VARIANTS
    block_path = "score_predictor.0"
    timm_names = DEIT_NAMES  # dense networks, without the predictors: where fine-tuning starts

    def __init__(
        self,
        variant: str | int = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        keep: float = 0.7,
        drop_path: float = 0.0,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        blocks = (make_block(row, rate) for rate in linear_rates(drop_path, (row.depth,))[0])
        if row.stem is None:
            self.add_layers(blocks, row.width)
            self.aux_head = None
        else:
            self.add_layers(blocks, row.width, ConvStem(self.patch, row.stem, row.width), eps=1e-5)
            self.aux_head = nn.Linear(row.width, num_classes)
        self.initialise()
        self.keep = check_keep(keep, "DynamicViT")
        self.before = [row.depth * i // 4 for i in (1, 2, 3)]  # the blocks, from 0, before which patches are dropped
        self.score_predictor = nn.ModuleList(Predictor(row.width) for _ in self.before)
        self.score_predictor.apply(normal_02_linear)
        for predictor in self.score_predictor:
            start_at(predictor, keep)

    @property
    def ratios(self) -> tuple[float, ...]:
        """Fraction of all patches that is left after each predictor: what `TokenRatio` aims at."""
        return tuple(self.keep**s for s in (1, 2, 3))

    def forward(self, x: Tensor) -> Outputs:
        x = self.embed(x)
        if not self.training:
            return self.classify(self.norm(self.remove(x)))
        x, decisions = self.mask(x)
        x = self.norm(x)
        return self.classify(x, decisions[-1]), {"kept": decisions, "tokens": x[:, self.prefix :]}

    def classify(self, z: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return the logits: tokens (N, 1 + L, D), decisions (N, L) or None if all are kept -> (N, K)."""
        logits = self.head(z[:, 0])
        if self.aux_head is None:
            return logits
        of_patches = self.aux_head(z[:, self.prefix :])
        if kept is not None:
            gone = (kept == 0) & kept.any(1, keepdim=True)  # where all are dropped, none is masked
            of_patches = of_patches.masked_fill(gone[..., None], -torch.inf)
        return logits + of_patches.amax(1) / 2

    def mask(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Run the blocks in training: tokens (N, 1 + L, D) -> the same, and the three decisions (N, L)."""
        kept, decisions, policy = x.new_ones(x.shape[0], x.shape[1] - self.prefix), [], None
        for i, block in enumerate(self.blocks):
            if i in self.before:
                log_pi = self.score_predictor[self.before.index(i)](x[:, self.prefix :], kept).float()
                kept = decide(log_pi, gumbel_noise(log_pi)) * kept
                decisions.append(kept)
                policy = torch.cat([kept.new_ones(len(kept), self.prefix), kept], 1)
            x = block(x, policy)
        return x, decisions

    def remove(self, x: Tensor) -> Tensor:
        """Run the blocks in evaluation: tokens (N, 1 + L, D) -> those that are left, (N, 1 + floor(keep^3 L), D)."""
        patches, ratios = x.shape[1] - self.prefix, dict(zip(self.before, self.ratios, strict=True))
        for i, block in enumerate(self.blocks):
            if i in ratios:
                everything = x.new_ones(x.shape[0], x.shape[1] - self.prefix)
                log_pi = self.score_predictor[self.before.index(i)](x[:, self.prefix :], everything)
                best = log_pi[..., 0].topk(max(1, int(patches * ratios[i])), 1)
                x = take_patches(x, best.indices, self.prefix)
            x = block(x)
        return x

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Interpolate positions; add our untrained predictors to the weights of a dense network."""
        state = super().adapt(state)
        if any(key.startswith("score_predictor.") for key in state):
            return state
        return {k: v for k, v in self.state_dict().items() if k.startswith("score_predictor.")} | state


def make_block(row: Row, drop_path: float) -> nn.Module:
    """Return a block of ViT, or in LV- rows of LV-ViT, with masked attention."""
    if row.stem is None:
        return Block(row.width, row.heads, drop_path, MaskedAttention(row.width, row.heads))
    return SoftenedBlock(row.width, row.heads, drop_path, row.a, MaskedAttention(row.width, row.heads, qkv_bias=False))
