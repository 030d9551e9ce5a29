"""DynamicViT: a ViT that learns which patches it can do without, and goes on without them.

Paper:    DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification (Rao, Zhao, Liu, Lu, Zhou, Hsieh;
          NeurIPS 2021) https://arxiv.org/abs/2106.02034, equations 1 to 11 and 17, Table 2; its losses are the tricks
          `TokenRatio` and `TokenDistillation`. Rows "LV-": as `lvvit.py`, with its stem, softened residual, two heads
Code:     https://github.com/raoyongming/DynamicViT at 1322e62 (the authors'); their keys: ViT's and `score_predictor`.
          With random weights, S and LV-S give their logits to 3e-6, in training too with their draws (S)
Block:    after a quarter, a half and three quarters of the blocks a predictor gives each patch
          log pi = log softmax(MLP([local, global])),  global = sum_i D_i u_i / sum_i D_i over what is left.
          Training: D <- D * GumbelSoftmax(pi), hard decisions with the soft ones' gradient; the patches stay, but a
          dropped one is seen by itself alone: A_ij = exp(P_ij) G_ij / sum_k exp(P_ik) G_ik,  G_ij = D_j, G_ii = 1.
          Evaluation: the floor(keep^s L) patches with the highest pi go on, s = 1, 2, 3; the rest are removed
Shapes:   (N, 3, S, S) -> (N, 1 + L, D) -blocks; in evaluation L, floor(keep L), floor(keep^2 L), floor(keep^3 L)->
          class token (N, D) -> (N, K);  in training also `extras["kept"]`, three decisions (N, L) in {0, 1}, and
          `extras["tokens"]` (N, L, D), the patches after the last norm
Defaults: keep .7 (Table 2; 31 to 37 % fewer multiply-adds); drop_path 0 (the authors' code; their README .2 for B)
Differs:  pi's first column means keep, as in the authors' code; in the paper the second. The softmax is the equation:
          the authors' adds 1e-6, and takes its maximum over dropped tokens too, so that one large score there turns
          attention into a uniform one. Where all patches are dropped, global is 0; the authors' is 0 / 0. Predictors
          start by keeping the share that they are to keep, the authors' by half, whatever it is: theirs have 30 epochs
          to find it, and in a short run masks would be others than in evaluation. Their training freezes class token
          and positions, and the backbone for 5 epochs: that is for the optimizer. At least one patch stays. Ti, for
          small images, is not in the paper; patches of up to 64 px as in `vit.py`. In training, LV- rows add the
          largest of the kept patches' logits, as in evaluation; the authors train the two heads apart, the patches' by
          a teacher's logits alone (`TokenDistillation` compares features instead).
"""

from math import sqrt

import torch
from torch import Tensor, nn

from zoo import lvvit
from zoo.frame.checks import validate_choice
from zoo.vit import Attention, Block, ViT, init_weights

# width D, blocks L, heads H, patch P in pixels: DeiT-S and DeiT-B, the README's DeiT of width 256, LV-ViT-S and -M
VARIANTS = {
    "Ti": (192, 12, 3, 16),
    "256": (256, 12, 4, 16),
    "S": (384, 12, 6, 16),
    "B": (768, 12, 12, 16),
    "LV-S": (384, 16, 6, 16),
    "LV-M": (512, 20, 8, 16),
}
CLAMP = 10.0  # a dropped token's score above the best of those kept: beyond it, its gradient grows no more


def masked_attention(q: Tensor, k: Tensor, v: Tensor, kept: Tensor) -> Tensor:
    """Equations 9 to 11: nobody looks at a dropped token except itself. The softmax is in float32.

    Exact for decisions of 0 and 1, and differentiable in them: a dropped token's gradient says what it would change.

    Args:
        q, k, v: (N, H, L, d).
        kept: (N, L), in [0, 1].

    Returns:
        The values' means (N, H, L, d). Where a token is kept, those over the kept ones.
    """
    scores = (q @ k.transpose(-2, -1) / sqrt(q.shape[-1])).float()
    G = kept.float()[:, None, None, :]
    G = G + (1 - G) * torch.eye(q.shape[2], device=q.device)
    best = scores.detach().masked_fill(G == 0, -torch.inf).amax(-1, keepdim=True)
    weights = (scores - best).clamp(max=CLAMP).exp() * G
    return (weights / weights.sum(-1, keepdim=True)).to(v.dtype) @ v


def decide(log_pi: Tensor, noise: Tensor) -> Tensor:
    """Equation 7: keep or drop, drawn by Gumbel noise. Exactly 0 or 1, with the gradient of the softmax.

    Args:
        log_pi: (N, L, 2), keep first.
        noise: of the same shape, Gumbel.

    Returns:
        Decisions (N, L).
    """
    soft = (log_pi + noise).softmax(-1)[..., 0]
    return (soft > 0.5).to(soft.dtype) + (soft - soft.detach())


def gumbel_noise(like: Tensor) -> Tensor:
    """-log E with E exponential; the draws that torch's own `gumbel_softmax` makes."""
    return -torch.empty_like(like).exponential_().log()


def take(tokens: Tensor, index: Tensor, prefix: int) -> Tensor:
    """The first `prefix` tokens and the patches at `index` (N, K): (N, prefix + L, D) -> (N, prefix + K, D)."""
    patches = tokens[:, prefix:].gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))
    return torch.cat([tokens[:, :prefix], patches], 1)


class MaskedAttention(Attention):
    """ViT's attention; where there are decisions, equation 11's. Shapes: (N, L, D), (N, L) -> (N, L, D)."""

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        if kept is None:
            return super().forward(x)
        y = masked_attention(*self.split(x), kept)
        return self.proj(self.heads_out(y).transpose(1, 2).flatten(2))


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
def start_at(predictor: Predictor, keep: float) -> None:
    """A fresh predictor keeps this share, at most .99, of all patches alike: log pi is its logarithm."""
    share = min(keep, 0.99)
    predictor.out_conv[4].bias.copy_(torch.tensor([share, 1 - share]).log())


class DynamicViT(ViT):
    """`DynamicViT("S", keep=0.7, weights="timm:deit_small_patch16_224.fb_in1k")`, to be fine-tuned from a dense DeiT.

    Train it with `TokenRatio()`, which holds the share of kept patches, and `TokenDistillation(dense)`. Training is no
    faster than the dense model's: the patches are masked. Evaluation is. The stages are the four quarters of the
    blocks; in evaluation their features are ever fewer tokens, the class token first.

    Args:
        variant: a key of `VARIANTS`: "Ti" "256" "S" "B" "LV-S" "LV-M".
        num_classes: K.
        image_size: side S of the images in pixels, a multiple of 16; up to 64 the patch is S/8. None: 224.
        weights: see `Classifier.load_weights`; those of a dense ViT, DeiT or, for LV- rows, LVViT do: the predictors
            start afresh then. None: random.
        keep: share of the patches that each of the three predictors lets through, in (0, 1]; may be set later.
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are), an image size that patches do not fill, or a share
            out of its range.
    """

    # dense networks without the predictors: where fine-tuning starts
    timm_names = {
        "Ti": "deit_tiny_patch16_224",
        "S": "deit_small_patch16_224",
        "B": ("deit_base_patch16_224", "deit_base_patch16_384"),
    }
    variants = VARIANTS

    def __init__(
        self,
        variant: str = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        keep: float = 0.7,
        drop_path: float = 0.0,
        **training,
    ):
        trunk = validate_choice(variant, self.variants, "DynamicViT").removeprefix("LV-")
        self.lv = lvvit.VARIANTS[trunk] if trunk != variant else None
        super().__init__(variant, num_classes, image_size, None, drop_path, **training)
        width, depth = self.head.in_features, len(self.blocks)
        if self.lv is not None:
            self.patch_embed = lvvit.Stem(self.image_size // self.grid, self.lv[3], width)
            self.norm = nn.LayerNorm(width)
            self.aux_head = nn.Linear(width, num_classes)
            self.initialise()
        self.keep = needs_share(keep, "DynamicViT")
        self.before = [depth * i // 4 for i in (1, 2, 3)]  # the blocks, from 0, before which patches are dropped
        self.score_predictor = nn.ModuleList(Predictor(width) for _ in self.before)
        self.score_predictor.apply(init_weights)
        for predictor in self.score_predictor:
            start_at(predictor, keep)
        if weights is not None:
            self.load_weights(weights)

    def block(self, width: int, heads: int, drop_path: float) -> nn.Module:
        block = Block(width, heads, drop_path) if self.lv is None else lvvit.Block(width, heads, drop_path, self.lv[4])
        block.attn = MaskedAttention(width, heads, qkv_bias=block.attn.qkv.bias is not None)
        return block

    @property
    def ratios(self) -> tuple[float, ...]:
        """Share of all patches that is left after each predictor: what `TokenRatio` aims at."""
        return tuple(self.keep**s for s in (1, 2, 3))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, dict[str, Tensor | list[Tensor]]]:
        x = self.embed(x)
        if not self.training:
            return self.read(self.norm(self.remove(x)))
        x, decisions = self.mask(x)
        x = self.norm(x)
        return self.read(x, decisions[-1]), {"kept": decisions, "tokens": x[:, self.prefix :]}

    def read(self, z: Tensor, kept: Tensor | None = None) -> Tensor:
        """The logits: tokens (N, 1 + L, D), decisions (N, L) or None for all kept -> (N, K)."""
        logits = self.head(z[:, 0])
        if self.lv is None:
            return logits
        of_patches = self.aux_head(z[:, self.prefix :])
        if kept is not None:
            gone = (kept == 0) & kept.any(1, keepdim=True)  # nobody is, where all are
            of_patches = of_patches.masked_fill(gone[..., None], -torch.inf)
        return logits + of_patches.amax(1) / 2

    def mask(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Training: tokens (N, 1 + L, D) -> the same after all blocks, and the three decisions (N, L)."""
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
        """Evaluation: tokens (N, 1 + L, D) -> those that are left after all blocks (N, 1 + floor(keep^3 L), D)."""
        patches, ratios = x.shape[1] - self.prefix, dict(zip(self.before, self.ratios, strict=True))
        for i, block in enumerate(self.blocks):
            if i in ratios:
                all_left = x.new_ones(x.shape[0], x.shape[1] - self.prefix)
                log_pi = self.score_predictor[self.before.index(i)](x[:, self.prefix :], all_left)
                best = log_pi[..., 0].topk(max(1, int(patches * ratios[i])), 1)
                x = take(x, best.indices, self.prefix)
            x = block(x)
        return x

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As ViT's; to the weights of a dense network, our fresh predictors are added."""
        state = super().adapt(state)
        if any(key.startswith("score_predictor.") for key in state):
            return state
        return {k: v for k, v in self.state_dict().items() if k.startswith("score_predictor.")} | state


def needs_share(keep: float, model: str) -> float:
    """The share of patches to keep. Raises ValueError outside (0, 1]."""
    if not 0 < keep <= 1:
        raise ValueError(f"{model}: keep must be in (0, 1], the share of patches that go on, got {keep}")
    return keep
