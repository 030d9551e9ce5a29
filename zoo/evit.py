"""EViT: a ViT that goes on with the patches to which its class token attends, and fuses the others into one.

Paper:    Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations (Liang, Ge, Tong,
          Song, Wang, Xie; ICLR 2022) https://arxiv.org/abs/2202.07800, section 3
Code:     https://github.com/youweiliang/evit at 5ca95a7 (the authors'; S with random weights gives their logits to
          3e-6); DeiT's keys, no weights of its own
Block:    in the 4th, 7th and 10th block, between attention and MLP:  a_i = 1/H sum_h A_h[class, i],  the ceil(keep L)
          patches of the highest a go on, the others become one token sum_i a_i x_i, which from then on is a patch
Shapes:   (N, 3, S, S) -> (N, 1 + L, D) -blocks, L -> ceil(keep L) + 1, three times-> class token (N, D) -> (N, K)
Defaults: keep .7 (Table 1; 35 % fewer multiply-adds), fuse (section 3.3), drop_path .1 (DeiT's recipe)
Differs:  nothing, at patches of 16 px; training drops as evaluation does. The authors lower keep from 1 from epoch to
          epoch: set `model.keep`. Ti, for small images, is not in the paper; patches of up to 64 px as in `vit.py`.
"""

from math import ceil, sqrt

import torch
from torch import Tensor

from zoo.dynamic_vit import VARIANTS as DYNAMIC
from zoo.dynamic_vit import DynamicViT, needs_share
from zoo.vit import Attention, Block, ViT, fused_attention

VARIANTS = {name: DYNAMIC[name] for name in ("Ti", "S", "B")}
IN = (3, 6, 9)  # the blocks, from 0, in which patches are dropped


def reorganise(x: Tensor, scores: Tensor, keep: float, fuse: bool) -> Tensor:
    """Class token, the patches of the highest scores in falling order, and, with `fuse`, the others' weighted sum.

    Args:
        x: tokens (N, 1 + L, D), the class token first.
        scores: a (N, L).
        keep: share of the patches that go on, in (0, 1]. If that is all of them, nothing changes.
        fuse: add the others' sum as the last token.

    Returns:
        (N, 1 + ceil(keep L) + fuse, D).
    """
    count = ceil(keep * scores.shape[1])
    if count == scores.shape[1]:
        return x
    order = scores.argsort(1, descending=True)
    patches = x[:, 1:].gather(1, order[..., None].expand(-1, -1, x.shape[2]))
    kept, others = patches[:, :count], patches[:, count:]
    if not fuse:
        return torch.cat([x[:, :1], kept], 1)
    weights = scores.gather(1, order[:, count:]).to(x.dtype)
    return torch.cat([x[:, :1], kept, (others * weights[..., None]).sum(1, keepdim=True)], 1)


class ScoringAttention(Attention):
    """ViT's attention, and what the class token looks at. Shapes: (N, 1 + L, D) -> (N, 1 + L, D), (N, L).

    The class token's row of the map is written out, the other queries take torch's kernel: no more work than without.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.split(x)
        row = (q[:, :, :1] @ k.transpose(-2, -1) / sqrt(q.shape[-1])).softmax(-1)
        rest = fused_attention(q[:, :, 1:], k, v)
        y = torch.cat([row.to(v.dtype) @ v, rest], 2)
        return self.proj(self.heads_out(y).transpose(1, 2).flatten(2)), row[:, :, 0, 1:].mean(1)


class DroppingBlock(Block):
    """ViT's block that loses tokens between its halves. Shapes: (N, 1 + L, D) -> (N, 1 + ceil(keep L) + fuse, D)."""

    def __init__(self, width: int, heads: int, drop_path: float, keep: float, fuse: bool):
        super().__init__(width, heads, drop_path)
        self.attn = ScoringAttention(width, heads)
        self.keep, self.fuse = keep, fuse

    def forward(self, x: Tensor) -> Tensor:
        y, scores = self.attn(self.norm1(x))
        x = reorganise(x + self.drop_path(y), scores, self.keep, self.fuse)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class EViT(ViT):
    """`EViT("S", keep=0.7, weights="timm:deit_small_patch16_224.fb_in1k")`: a DeiT with fewer patches, trained or not.

    The stages are the four quarters of the blocks; their features are ever fewer tokens, the class token first and,
    from the second stage on, the fused one last.

    Args:
        variant: a key of `VARIANTS`: "Ti" "S" "B".
        num_classes: K.
        image_size: side S of the images in pixels, a multiple of 16; up to 64 the patch is S/8. None: 224.
        weights: see `Classifier.load_weights`; those of a ViT or DeiT. None: random.
        keep: share of the patches that each of the three blocks lets through, in (0, 1]; may be set later.
        fuse: make one token of the patches that do not go on.
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are), an image size that patches do not fill, or a share
            out of its range.
    """

    timm_names = DynamicViT.timm_names  # the same weights; the same function at keep=1
    variants = VARIANTS

    def __init__(
        self,
        variant: str = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        keep: float = 0.7,
        fuse: bool = True,
        drop_path: float = 0.1,
        **training,
    ):
        super().__init__(variant, num_classes, image_size, None, drop_path, **training)
        width, heads = self.head.in_features, self.blocks[0].attn.heads
        for i in IN:
            self.blocks[i] = DroppingBlock(width, heads, self.blocks[i].drop_path.p, 1.0, fuse)
        self.keep = keep
        self.initialise()
        if weights is not None:
            self.load_weights(weights)

    @property
    def keep(self) -> float:
        """Share of the patches that goes on, at each of the three blocks."""
        return self.blocks[IN[0]].keep

    @keep.setter
    def keep(self, keep: float) -> None:
        for i in IN:
            self.blocks[i].keep = needs_share(keep, "EViT")
