"""EViT: a ViT that keeps the patches to which its class token attends, and fuses the others into one.

Paper:    Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations (Liang, Ge, Tong,
          Song, Wang, Xie; ICLR 2022) https://arxiv.org/abs/2202.07800, section 3
Code:     https://github.com/youweiliang/evit at 5ca95a7 (the authors'; S with random weights gives their logits to
          3e-6); DeiT's keys, no weights of its own
Block:    in the 4th, 7th and 10th block, between attention and MLP:  a_i = 1/H sum_h A_h[class, i],  the ceil(keep L)
          patches of the highest a go on, the others become one token sum_i a_i x_i, which from then on is a patch
Shapes:   (N, 3, S, S) -> (N, 1 + L, D) -blocks, L -> ceil(keep L) + 1, three times-> class token (N, D) -> (N, K)
Defaults: keep .7 (Table 1; 35 % fewer multiply-adds), fuse (section 3.3), drop_path .1. AdamW, lr 2.5e-4 for 256
          images, weight decay .05 (all DeiT's recipe)
Differs:  nothing at patches of 16 px. Training drops as evaluation does. The authors lower keep epoch by epoch,
          starting at 1: set `model.keep`. Ti and 96, for small images, are ours; so are patches of S/8 px up to 64 px.
"""

from math import ceil, sqrt
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.layers.attention import MultiHeadAttention, fused_attention
from zoo.layers.drop_path import linear_rates
from zoo.layers.token_classifier import DEIT, DEIT_NAMES, SMALL, TokenClassifier, check_keep
from zoo.layers.transformer import Block, BlockLayers

VARIANTS = {**DEIT, "96": SMALL}


def dropping(depth: int) -> list[int]:
    """Return the blocks, from 0, in which patches are dropped: of 12 the paper's 3, 6 and 9."""
    return [depth * i // 4 for i in (1, 2, 3)]


def reorganise(x: Tensor, scores: Tensor, keep: float, fuse: bool) -> Tensor:
    """Keep the class token and the patches of the highest scores; with `fuse`, add the others' weighted sum.

    Args:
        x: tokens (N, 1 + L, D), the class token first.
        scores: a (N, L).
        keep: fraction of the patches that go on, in (0, 1]. If that is all of them, nothing changes.
        fuse: add sum_i a_i x_i over the dropped patches as the last token.

    Returns:
        (N, 1 + ceil(keep L) + fuse, D), the patches in falling order of their scores.
    """
    count = ceil(keep * scores.shape[1])
    if count == scores.shape[1]:
        return x
    order = scores.argsort(1, descending=True)
    patches = x[:, 1:].gather(1, order[..., None].expand(-1, -1, x.shape[2]))
    best, others = patches[:, :count], patches[:, count:]
    if not fuse:
        return torch.cat([x[:, :1], best], 1)
    weights = scores.gather(1, order[:, count:]).to(x.dtype)
    return torch.cat([x[:, :1], best, (others * weights[..., None]).sum(1, keepdim=True)], 1)


class ScoringAttention(MultiHeadAttention):
    """Self-attention that also returns how much the class token looks at each patch.

    The class token's row of the map is computed by the equation, the other rows by torch's kernel: this costs no extra
    work. Shapes: (N, 1 + L, D) -> (N, 1 + L, D), (N, L).
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.split(x)
        row = (q[:, :, :1] @ k.transpose(-2, -1) / sqrt(q.shape[-1])).softmax(-1)
        rest = fused_attention(q[:, :, 1:], k, v)
        return self.merge(torch.cat([row.to(v.dtype) @ v, rest], 2)), row[:, :, 0, 1:].mean(1)


class DroppingBlock(BlockLayers):
    """A ViT block that drops patches between attention and MLP.

    Shapes: (N, 1 + L, D) -> (N, 1 + ceil(keep L) + fuse, D).

    Attributes:
        keep: fraction of the patches that go on, in (0, 1].
    """

    def __init__(self, width: int, heads: int, drop_path: float, keep: float, fuse: bool):
        super().__init__(width, ScoringAttention(width, heads), drop_path)
        self.keep, self.fuse = keep, fuse

    def forward(self, x: Tensor) -> Tensor:
        y, scores = self.attn(self.norm1(x))
        x = reorganise(x + self.drop_path(y), scores, self.keep, self.fuse)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class EViT(TokenClassifier):
    """`EViT("S", keep=0.7, weights="timm:deit_small_patch16_224.fb_in1k")`: a DeiT that drops patches.

    Weights are those of a ViT or DeiT; they work without more training. The stages are the four quarters of the blocks.
    Their features are tokens, fewer from stage to stage: the class token first and, from the second stage on, the fused
    token last.

    Args:
        keep: fraction of the patches that each of the three blocks lets through, in (0, 1]; may be set later.
        fuse: make one token of the patches that do not go on.
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.

    Raises:
        ValueError: an image size that is no multiple of the patch, or `keep` out of its range.
    """

    variants = VARIANTS
    block_path = "blocks.3"
    timm_names = DEIT_NAMES  # the same weights; the same function at keep=1

    def __init__(
        self,
        variant: str | int = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        keep: float = 0.7,
        fuse: bool = True,
        drop_path: float = 0.1,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        check_keep(keep, "EViT")
        rates = linear_rates(drop_path, (row.depth,))[0]
        blocks: list[nn.Module] = [Block(row.width, row.heads, rate) for rate in rates]
        for i in dropping(row.depth):
            blocks[i] = DroppingBlock(row.width, row.heads, rates[i], keep, fuse)
        self.add_layers(blocks, row.width)
        self.initialise()

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.embed(x))
        return self.head(self.norm(x)[:, 0])

    @property
    def dropping_blocks(self) -> list[DroppingBlock]:
        """The three blocks that drop patches."""
        return [block for block in self.blocks if isinstance(block, DroppingBlock)]

    @property
    def keep(self) -> float:
        """Fraction of the patches that goes on, at each of the three blocks."""
        return self.dropping_blocks[0].keep

    @keep.setter
    def keep(self, keep: float) -> None:
        for block in self.dropping_blocks:
            block.keep = check_keep(keep, "EViT")
