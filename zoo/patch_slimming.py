"""Patch slimming: a trained ViT keeps, in each block, only the patches that its class token needs in the end.

Paper:    Patch Slimming for Efficient Vision Transformers (Tang, Han, Wang, Xu, Guo, Xu, Tao; CVPR 2022)
          https://arxiv.org/abs/2106.02852, equations 1 and 2, theorem 1, algorithm 1
Code:     none by the authors; keys and function, before slimming, of timm 1.0 `deit_*_patch16_224`
Block:    rows m_l of z' = z + MSA(LN(z)),  z = z' + MLP(LN(z'));  queries of the rows that are kept, keys and values of
          all that came in. The masks are the same for every image, and nested: who is kept in l + 1 is kept in l.
          Significance of patch i in block t, P^h its map of head h, masks of the later blocks given:
            s_i = G_ii sum_h |P^h_i |Z_{t-1}||^2,  G = sum over paths of A^T A,  A = prod_{l=L}^{t+1} diag(m_l) P_l
          From the last block (class token alone) to the first: add the most significant patches, a few at a time, until
          the next block's kept rows are what they were, to a relative squared error of eps
Shapes:   (N, 3, S, S) -> (N, 1 + L, D) -block l-> (N, |m_l|, D) -> class token (N, D) -> (N, K)
Defaults: eps .01, 10 patches at a time (ours); drop_path .1. AdamW, lr 2.5e-4 for 256 images, weight decay
          .05 (all DeiT's recipe)
Differs:  ours: the error is relative to the rows' squared norm, Z is the block's input before its layer norm, and
          blocks are not fine-tuned one by one while patches are chosen: `fit` the slim model as a whole. The paper's
          second method, which chooses for each image, is not here, nor is LV-ViT.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.frame.arguments import Training
from zoo.frame.evaluation import evaluating
from zoo.layers.attention import Attention, attention, fused_attention
from zoo.layers.drop_path import linear_rates
from zoo.layers.token_classifier import DEIT, DEIT_NAMES, TokenClassifier
from zoo.layers.transformer import BlockLayers
from zoo.tools.complexity import total_macs

VARIANTS = {**DEIT}


class SlimAttention(Attention):
    """Self-attention with queries for some rows only. Shapes: (N, L, D), rows -> (N, |rows|, D)."""

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        if rows is None:
            return super().forward(x)
        n, length, width = x.shape
        split = (width, 2 * width)
        (q_weight, kv_weight), biases = self.qkv.weight.split(split), self.qkv.bias.split(split)
        q = F.linear(x[:, rows], q_weight, biases[0]).view(n, -1, self.heads, width // self.heads).transpose(1, 2)
        kv = F.linear(x, kv_weight, biases[1]).view(n, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = fused_attention(q, *kv) if self.fused else attention(q, *kv)[0]
        return self.merge(y)


class SlimBlock(BlockLayers):
    """A ViT block for some rows of its input. Shapes: (N, L, D) -> (N, |rows|, D).

    Attributes:
        rows: indices of the rows that are kept, in rising order. None: all of them.
    """

    rows: Tensor | None
    attn: SlimAttention

    def __init__(self, width: int, heads: int, drop_path: float):
        super().__init__(width, SlimAttention(width, heads), drop_path)
        self.register_buffer("rows", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.attn(self.norm1(x), self.rows))
        x = y + (x if self.rows is None else x[:, self.rows])
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchSlimming(TokenClassifier):
    """`PatchSlimming("S", weights="timm:deit_small_patch16_224.fb_in1k")`; `model.slim(find_tokens(model, images))`.

    The stages are the four quarters of the blocks. Their features are tokens, the class token first, fewer from stage
    to stage.

    Args:
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.
        kept: for each block the tokens that leave it, rising, 0 (the class token) among them. None: all of them.

    Raises:
        ValueError: an image size that is no multiple of the patch, or tokens that are not nested.
    """

    variants = VARIANTS
    timm_names = DEIT_NAMES

    def __init__(
        self,
        variant: str | int = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float = 0.1,
        kept: list[list[int]] | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        rates = linear_rates(drop_path, (row.depth,))[0]
        self.add_layers((SlimBlock(row.width, row.heads, rate) for rate in rates), row.width)
        self.initialise()
        if kept is not None:
            self.keep_tokens(kept)

    def keep_tokens(self, kept: list[list[int]]) -> None:
        """Give each block the rows of its input that hold the tokens in `kept`. Refuses lists that are not nested."""
        before = list(range(1 + self.grid**2))
        check_nested(kept, len(self.blocks), len(before))
        for block, now in zip(self.slim_blocks, kept, strict=True):
            block.rows, before = rows_of(now, before), now

    @property
    def slim_blocks(self) -> list[SlimBlock]:
        """The blocks, in order."""
        return [block for block in self.blocks if isinstance(block, SlimBlock)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.embed(x))
        return self.head(self.norm(x)[:, 0])

    def slim(self, kept: Sequence[Sequence[int]]) -> "PatchSlimming":
        """Return a model with these weights that keeps these tokens; this one stays as it is."""
        model = type(self)(**{**self.hparams, "kept": [list(tokens) for tokens in kept]})
        model.load_state_dict(self.state_dict())
        model.untrained = False
        return model.to(self.device).train(self.training)


def rows_of(tokens: Sequence[int], given: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Return the rows that hold `tokens` in a sequence of the tokens `given`."""
    row = {token: i for i, token in enumerate(given)}
    return torch.tensor([row[token] for token in tokens], device=device)


def check_nested(kept: Sequence[Sequence[int]], depth: int, tokens: int) -> None:
    """Refuse lists of tokens that are not one for each block, rising, and each a part of the list before.

    Raises:
        ValueError: says which list is wrong.
    """
    if len(kept) != depth:
        raise ValueError(f"kept has {len(kept)} lists for {depth} blocks: give one for each")
    before: Sequence[int] = range(tokens)
    for i, now in enumerate(kept):
        if 0 not in now or list(now) != sorted({*now}) or not {*now} <= {*before}:
            raise ValueError(
                f"kept[{i}] must be ascending, contain 0 (the class token), and be a subset of the block before's"
            )
        before = now


def propagate(G: Tensor, P: Tensor, m: Tensor) -> Tensor:
    """Compute G of the block before: sum_h A_h^T G A_h,  A_h = diag(m) P^h.

    Args:
        G: (N, L, L).
        P: attention maps (N, H, L, L).
        m: (L,), 1 for the tokens that the block keeps, else 0.
    """
    A = m.to(P)[:, None] * P
    return (A.transpose(-2, -1) @ G[:, None] @ A).sum(1)


def significance(G: Tensor, P: Tensor, Z: Tensor) -> Tensor:
    """Compute s_i = G_ii sum_h |P^h_i |Z||^2 of every token i, the mean over images.

    Args:
        G: (N, L, L).
        P: the block's attention maps (N, H, L, L).
        Z: the block's input (N, L, D).

    Returns:
        (L,).
    """
    U = P @ Z.abs()[:, None]
    return (G.diagonal(dim1=1, dim2=2) * U.square().sum((1, 3))).mean(0)


@torch.no_grad()
def find_tokens(model: PatchSlimming, images: Tensor, eps: float = 0.01, step: int = 10) -> list[list[int]]:
    """Search the tokens that each block must keep, from the last block to the first: algorithm 1.

    Args:
        model: trained, not slimmed; it is used in eval mode and left in the mode that it had.
        images: (N, 3, S, S), some of the training set.
        eps: error that each block may make, > 0.
        step: tokens added at a time.

    Returns:
        The tokens that leave each block, for `slim`.
    """
    with evaluating(model):
        return search(model, *trace(model, images), eps, step)


@torch.no_grad()
def find_tokens_within(
    model: PatchSlimming, images: Tensor, fraction: float, step: int = 10, rounds: int = 8
) -> list[list[int]]:
    """Search the tokens to keep within a budget: `find_tokens` with about the least eps that meets it.

    Args:
        model, images, step: as for `find_tokens`.
        fraction: of the multiply-adds that may be left, in (0, 1].
        rounds: halvings of the range of eps, 2^-20 to 1, in its logarithm.

    Returns:
        The tokens that leave each block, for `slim`.

    Raises:
        ValueError: if more is left even at eps = 1.
    """
    with evaluating(model):
        features, maps = trace(model, images)
        low, high, budget = -20.0, 0.0, fraction * multiply_adds(model, None)
        best = search(model, features, maps, 1.0, step)
        if multiply_adds(model, best) > budget:
            raise ValueError(f"no error bound reduces the multiply-adds to {fraction:g}: choose a larger fraction")
        for _ in range(rounds):
            exponent = (low + high) / 2
            kept = search(model, features, maps, 2**exponent, step)
            if multiply_adds(model, kept) <= budget:
                best, high = kept, exponent
            else:
                low = exponent
    return best


def multiply_adds(model: PatchSlimming, kept: Sequence[Sequence[int]] | None) -> int:
    """Count the multiply-adds of one image when the blocks keep these tokens. None: all of them."""
    with torch.device("meta"):
        return total_macs(type(model)(**{**model.hparams, "kept": kept}), model.image_size)


def search(
    model: PatchSlimming, features: Sequence[Tensor], maps: Sequence[Tensor], eps: float, step: int
) -> list[list[int]]:
    """Search the tokens to keep, as `find_tokens` does, on the features and maps that `trace` returns."""
    images, length, _ = features[0].shape
    device = features[0].device
    G = torch.eye(length, device=device).expand(images, -1, -1)
    kept, now = [[0]], [0]
    for layer in range(len(maps) - 1, 0, -1):  # block `layer` follows; block `layer - 1` chooses
        m = torch.zeros(length, device=device).index_fill_(0, torch.tensor(now, device=device), 1)
        G = propagate(G, maps[layer], m)
        G = G / G.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-30)  # one factor for all images: the order stays
        scores = significance(G, maps[layer - 1], features[layer - 1])
        order = [token for token in scores.argsort(descending=True).tolist() if token not in {*now}]
        block, after = model.slim_blocks[layer], now
        while order and relative_error(block, features[layer], features[layer + 1], now, after) > eps:
            now, order = sorted(now + order[:step]), order[step:]
        kept.insert(0, now)
    return kept


def trace(model: PatchSlimming, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return Z_0, ..., Z_L (N, 1 + L, D), and the attention maps P_1, ..., P_L (N, H, 1 + L, 1 + L)."""
    features, maps = [model.embed(images)], []
    for block in model.slim_blocks:
        maps.append(block.attn.map(block.norm1(features[-1])))
        features.append(block(features[-1]))
    return features, maps


def relative_error(block: SlimBlock, x: Tensor, full: Tensor, given: Sequence[int], wanted: Sequence[int]) -> float:
    """Compute how far a block's `wanted` rows move if it sees only the `given` tokens: |slim - full|^2 / |full|^2.

    Args:
        block: it keeps all rows, before and after.
        x: its input, all tokens (N, L, D).
        full: its output for all tokens (N, L, D).
        given: tokens that it sees.
        wanted: tokens whose outputs count, a part of `given`.
    """
    block.rows = rows_of(wanted, given, x.device)
    slim, full = block(x[:, list(given)]), full[:, list(wanted)]
    block.rows = None
    return ((slim - full).square().sum() / full.square().sum()).item()
