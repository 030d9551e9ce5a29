"""DVT: a cascade of three ViTs on more and more tokens, in which easy images leave at the first.

Paper:    Not All Images are Worth 16x16 Words: Dynamic Transformers for Efficient Image Recognition (Wang, Huang, Song,
          Huang, Huang; NeurIPS 2021) https://arxiv.org/abs/2105.15075, section 3
Code:     https://github.com/blackfeather-wang/Dynamic-Vision-Transformer at 22cc895 (the authors'; keys and function of
          `DVT_Deit_small`, `DVT_T2t_vit_12`, `DVT_T2t_vit_14`)
Block:    that of `vit.py`. In the 2nd and 3rd ViT, with z_up the last tokens and A_up the scores A of all layers and
          heads of the ViT before (of the first, Q K^T / sqrt(d)), up() from its grid to this one's:
            A = Q K^T / sqrt(d) + up(MLP(A_up)),  z' = z + softmax(A) V,  z = z' + MLP(LN([z'; up(f(LN(z_up)))]))
          up: each cell four times, then the mean over the cells of the new grid; the class token's row and column
          stay, its f is 0. f: D -> 128 -> 48, another in each layer. An image leaves the first ViT i whose largest
          probability reaches eta_i
Shapes:   (N, 3, S, S) -> 7^2, 10^2, 14^2 tokens + 1, of D -> three (N, K); evaluation gives the last, training the
          others as `extras["aux"]` of weight 1
Defaults: patches of 32, 23 and 16 px (DeiT), first soft splits of strides 8, 6 and 4 and dropout .1 after them (T2T);
          drop_path .1, weights and tokens N(0, .02); LN's epsilon 1e-6 DeiT, 1e-5 T2T (all the authors' code).
          AdamW, lr 2.5e-4 for 256 images, weight decay .05 (DeiT's, and T2T-14's 5e-4 for 512; T2T-12 has 2e-3 for 1024
          and .03)
Differs:  nothing at 224 px: logits are the authors' to 1e-6. As in their code, f of the last block reaches no class
          token, and so has no effect. The paper searches thresholds with a genetic algorithm. The authors' code and
          `zoo/tools/early_exit.py` let fractions of the images leave that are a geometric progression. The last exit's
          threshold is ignored. Random features of T2T are in float32 at any precision; they and its positions are
          buffers. Up to 64 px, patches are S/4, 3S/16 and S/8, so 4^2, 6^2 and 8^2 tokens: ours; the paper enlarges
          CIFAR's images to 224 px. T2T is for more than 64 px. DeiT-Ti, for small images, is ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import ADAMW, Training
from zoo.frame.checks import SMALL
from zoo.frame.model import Model
from zoo.frame.outputs import Outputs
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.drop_path import linear_rates
from zoo.layers.init import normal_02_linear
from zoo.layers.patch_embed import PatchEmbed, check_size, resize_patches, resize_positions
from zoo.layers.t2t import TokensToToken, sines, soft_grid
from zoo.layers.token_grid import upsample_features, upsample_relations
from zoo.layers.transformer import MLP, BlockLayers
from zoo.tools import complexity
from zoo.tools.early_exit import confidences


@dataclass(frozen=True)
class Row:
    """The transformer of each exit."""

    width: int  # D, of the tokens
    depth: int  # number of blocks
    heads: int  # H, of each attention
    ratio: int  # the MLP's hidden width / D
    t2t: bool = False  # tokens by soft splits (T2T), else by patches (DeiT)

    @property
    def eps(self) -> float:
        """Epsilon of the layer norms."""
        return 1e-5 if self.t2t else 1e-6


VARIANTS = {
    "DeiT-Ti": Row(192, 12, 3, 4),
    "DeiT-S": Row(384, 12, 6, 4),
    "T2T-12": Row(256, 12, 4, 2, t2t=True),
    "T2T-14": Row(384, 14, 6, 3, t2t=True),
}
PATCHES = (32, 23, 16)  # sides in pixels, one for each exit
SPLITS = ((14, 8, 3), (11, 6, 5), (7, 4, 2))  # T2T's first: kernel, stride, padding
NAMES = ("less_less_token", "less_token", "normal_token")  # the authors'
HIDDEN, REUSED = 128, 48  # widths of f


class ScoringAttention(MultiHeadAttention):
    """Self-attention that also returns its scores. Shapes: (N, L, D), (N, H, L, L) -> (N, L, D), (N, H, L, L)."""

    def forward(self, x: Tensor, relation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        q, k, v = self.split(x)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        scores = scores if relation is None else scores + relation
        return self.merge(scores.softmax(-1).to(v.dtype) @ v), scores


class Block(BlockLayers):
    """A ViT block that also takes the scores and features of the exit before, if there is one: (N, L, D) -> same."""

    def __init__(self, row: Row, reuses: bool, drop_path: float):
        attn = ScoringAttention(row.width, row.heads, qkv_bias=not row.t2t)
        hidden, extra = row.ratio * row.width, REUSED if reuses else 0
        super().__init__(row.width, attn, drop_path, hidden, row.eps, extra)
        if reuses:
            f = MLP(row.width, HIDDEN, REUSED)
            self.feature_resuse_mlp = nn.Sequential(nn.LayerNorm(row.width, eps=row.eps), f)  # the authors' spelling

    def forward(self, x: Tensor, features: Tensor | None, relation: Tensor | None) -> tuple[Tensor, Tensor]:
        y, scores = self.attn(self.norm1(x), relation)
        x = y = x + self.drop_path(y)
        if features is not None:
            y = torch.cat([x, upsample_features(self.feature_resuse_mlp(features), math.isqrt(x.shape[1] - 1))], -1)
        return x + self.drop_path(self.mlp(self.norm2(y))), scores


Reused = tuple[Tensor, list[Tensor]]  # tokens (N, 1 + g^2, D), and each layer's scores (N, H, 1 + g^2, 1 + g^2)


class Exit(nn.Module):
    """One ViT of the cascade, number i of 0 to 2; a subclass adds its tokens and positions.

    Shapes: images (N, 3, S, S), and what the exit before gives to reuse -> logits (N, K), and what the next reuses.
    """

    pos_embed: Tensor  # of a subclass, (1, 1 + grid^2, D)

    def __init__(self, i: int, row: Row, grid: int, num_classes: int, drop_path: float):
        super().__init__()
        self.grid, self.last, c = grid, i == len(NAMES) - 1, row.depth * row.heads
        self.cls_token = nn.Parameter(nn.init.normal_(torch.zeros(1, 1, row.width), std=0.02))
        if i > 0:
            self.relation_reuse_conv = nn.Sequential(nn.Conv2d(c, 3 * c, 1), nn.GELU(), nn.Conv2d(3 * c, c, 1))
        self.blocks = nn.ModuleList(Block(row, i > 0, rate) for rate in linear_rates(drop_path, (row.depth,))[0])
        self.norm = nn.LayerNorm(row.width, eps=row.eps)
        self.head = nn.Linear(row.width, num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Cut images into tokens: (N, 3, S, S) -> (N, grid^2, D)."""
        raise NotImplementedError

    def forward(self, x: Tensor, before: Reused | None = None) -> tuple[Tensor, Reused]:
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), self.embed(x)], 1) + self.pos_embed
        features, relations = (None, [None] * len(self.blocks)) if before is None else self.reuse(before)
        scores = []
        for block, relation in zip(self.blocks, relations, strict=True):
            x, score = block(x, features, relation)
            if not self.last:
                scores.append(score)
        return self.head(self.norm(x)[:, 0]), (x, scores)

    def reuse(self, before: Reused) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the tokens of the exit before, and for each block what is added to its scores, on this grid."""
        features, scores = before
        relations = upsample_relations(self.relation_reuse_conv(torch.cat(scores, 1)), self.grid)
        return features, relations.chunk(len(self.blocks), 1)


class DeiTExit(Exit):
    """Tokens are patches of P px, which together may be wider than the image; positions are learned."""

    def __init__(self, i: int, row: Row, image_size: int, num_classes: int, drop_path: float):
        patch = PATCHES[i] if image_size > SMALL else max(1, (4, 3, 2)[i] * image_size // 16)
        grid = math.ceil(image_size / patch)
        super().__init__(i, row, grid, num_classes, drop_path)
        self.patch_embed = PatchEmbed(patch, row.width, padding=(grid * patch - image_size + 1) // 2)
        self.pos_embed = nn.Parameter(nn.init.normal_(torch.zeros(1, 1 + grid**2, row.width), std=0.02))

    def embed(self, x: Tensor) -> Tensor:
        return self.patch_embed(x)


class T2TExit(Exit):
    """Tokens are soft splits; positions are sines."""

    def __init__(self, i: int, row: Row, image_size: int, num_classes: int, drop_path: float, in_chans: int = 3):
        super().__init__(i, row, soft_grid(image_size, SPLITS[i]), num_classes, drop_path)
        self.tokens_to_token = TokensToToken(SPLITS[i], row.width, in_chans)
        self.register_buffer("pos_embed", sines(1 + self.grid**2, row.width)[None])

    def embed(self, x: Tensor) -> Tensor:
        return self.tokens_to_token(x)


class DVT(Model):
    """`DVT("DeiT-S")` for ImageNet, `DVT("DeiT-Ti", num_classes=10, image_size=32)` for CIFAR-10.

    `model(images)` runs all three ViTs. To save work, search thresholds once, with a trained model in eval mode, on
    images that it was not trained on. Then each image leaves as soon as the model is sure:

        logits = torch.stack(model.exits(images))
        thresholds = search_thresholds(logits, model.macs(), budget=2e9, targets=targets)
        logits, exits = model.early_exit(images, thresholds)

    Weights of a DeiT fit too: all three ViTs start from them. The stages are the three ViTs; their features are tokens
    (N, 1 + L, D), the class token first.

    Args:
        drop_path: probability that an example skips the last block of each ViT, in [0, 1), rising linearly from 0 at
            the first.

    Raises:
        ValueError: T2T at 64 px and less.
    """

    variants = VARIANTS
    training_defaults = ADAMW
    stage_paths = ("less_less_token.norm", "less_token.norm", "normal_token.norm")
    block_path = "less_token.blocks.1"
    timm_names = {"DeiT-Ti": "deit_tiny_patch16_224", "DeiT-S": "deit_small_patch16_224"}  # where fine-tuning may start

    def __init__(
        self,
        variant: str | int = "DeiT-S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float = 0.1,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row, size = VARIANTS[self.variant], self.image_size
        if row.t2t and self.small:
            raise ValueError(f"{self.variant} has too few tokens at image_size={size}: use larger images, or DeiT-Ti")
        vit = partial(T2TExit, in_chans=self.in_chans) if row.t2t else DeiTExit
        self.less_less_token = vit(0, row, size, num_classes, drop_path)
        self.less_token = vit(1, row, size, num_classes, drop_path)
        self.normal_token = vit(2, row, size, num_classes, drop_path)
        self.apply(normal_02_linear)

    @property
    def cascade(self) -> list[Exit]:
        """The three ViTs."""
        return [self.less_less_token, self.less_token, self.normal_token]

    def exits(self, x: Tensor) -> list[Tensor]:
        """Return the logits of each exit: (N, 3, S, S) -> three of (N, K)."""
        check_size(x, self.image_size, "DVT")
        first, before = self.less_less_token(x)
        second, before = self.less_token(x, before)
        third, _ = self.normal_token(x, before)
        return [first, second, third]

    def forward(self, x: Tensor) -> Outputs:
        *early, logits = self.exits(x)
        return (logits, {"aux": [(1.0, each) for each in early]}) if self.training else logits

    @torch.no_grad()
    def early_exit(self, images: Tensor, thresholds: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Let each image leave at the first exit whose largest probability reaches that exit's threshold.

        Call it in eval mode. Later ViTs see only the images that are left.

        Args:
            images: (N, 3, S, S).
            thresholds: three. The last is ignored: every image that is left leaves there.

        Returns:
            Logits (N, K), and the exit that each is from (N,), counted from 0.
        """
        check_size(images, self.image_size, "DVT")
        left, before = torch.arange(len(images), device=images.device), None
        logits, exits = images.new_zeros(len(images), self.num_classes), torch.zeros_like(left)
        for i, (vit, threshold) in enumerate(zip(self.cascade, thresholds, strict=True)):
            z, (tokens, scores) = vit(images[left], before)
            logits = logits.to(z.dtype).index_copy(0, left, z)
            exits[left] = i
            unsure = ~(confidences(z) >= threshold)
            if vit.last or not unsure.any():
                break
            left, before = left[unsure], (tokens[unsure], [each[unsure] for each in scores])
        return logits, exits

    def macs(self) -> list[int]:
        """Count the multiply-adds of an image that leaves at the first, the second, the last exit."""
        flops = complexity._flops(self, self.image_size)
        return [total // 2 for total in accumulate(flops[name] for name in NAMES)]

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fit weights of another image size; give those of a ViT to all three ViTs.

        A ViT has no weights for what is reused: those keep their random start.
        """
        ours = self.state_dict()
        if any(key.startswith(NAMES) for key in state):
            return {key: fit(x, ours.get(key, x)) for key, x in state.items()}
        state = {f"{name}.{key}": x for name in NAMES for key, x in state.items()}
        return ours | {key: fit(x, ours.get(key, x)) for key, x in state.items()}


def fit(x: Tensor, ours: Tensor) -> Tensor:
    """Return weights in the shape of ours: positions and patches interpolated, reused features' columns from ours."""
    if x.ndim == 3 and x.shape[1] != ours.shape[1]:
        return resize_positions(x, math.isqrt(ours.shape[1] - 1), 1)
    if x.ndim == 4 and x.shape[2:] != ours.shape[2:]:
        return resize_patches(x, ours.shape[2])
    if x.ndim < 3 and x.shape[-1] + REUSED == ours.shape[-1]:
        return torch.cat([x, ours[..., x.shape[-1] :].to(x)], -1)
    return x
