"""Patch slimming: a trained ViT keeps, in each block, only the patches that the class token ends up needing.

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
Defaults: eps .01, 10 patches at a time (algorithm 1 as others report it; eps also .02); drop_path .1 (DeiT's recipe)
Differs:  in the spirit of the paper, whose text on the search we have from others. What is unknown is ours: the error
          is relative to the rows' squared norm; blocks are not fine-tuned one by one while patches are chosen
          (algorithm 1: 3 epochs each), `fit` the slim model as a whole; Z is the block's input before its layer norm.
          The paper's second method, with a choice for each image, is not here, nor is LV-ViT.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.deit import VARIANTS as DEIT
from zoo.frame.evaluating import evaluating
from zoo.tools.complexity import total_macs
from zoo.vit import Attention, Block, ViT, attention, fused_attention

# those of DeiT: width, blocks, heads, patch
VARIANTS = {name: DEIT[name] for name in ("Ti", "S", "B")}


class SlimAttention(Attention):
    """Attention whose queries are some of the rows only, or ViT's. Shapes: (N, L, D) -> (N, |rows|, D)."""

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        if rows is None:
            return super().forward(x)
        n, length, width = x.shape
        split = (width, 2 * width)
        (q_weight, kv_weight), biases = self.qkv.weight.split(split), self.qkv.bias.split(split)
        q = F.linear(x[:, rows], q_weight, biases[0]).view(n, -1, self.heads, width // self.heads).transpose(1, 2)
        kv = F.linear(x, kv_weight, biases[1]).view(n, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = fused_attention(q, *kv) if self.fused else attention(q, *kv)[0]
        return self.proj(self.heads_out(y).transpose(1, 2).flatten(2))


class SlimBlock(Block):
    """ViT's block, for some rows of what comes in. Shapes: (N, L, D) -> (N, |rows|, D)."""

    def __init__(self, width: int, heads: int, drop_path: float):
        super().__init__(width, heads, drop_path)
        self.attn = SlimAttention(width, heads)
        self.register_buffer("rows", None, persistent=False)  # indices, in rising order; None: all of them

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.attn(self.norm1(x), self.rows))
        x = y + (x if self.rows is None else x[:, self.rows])
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchSlimming(ViT):
    """`PatchSlimming("S", weights="timm:deit_small_patch16_224.fb_in1k")`, then `model.slim(effective(model, images))`.

    The stages are the four quarters of the blocks; their features are tokens, the class token first, fewer and fewer.

    Args:
        variant: a key of `VARIANTS`: "Ti" "S" "B".
        num_classes: K.
        image_size: side S of the images in pixels, a multiple of 16; up to 64 the patch is S/8. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.
        kept: for each block the tokens that leave it, rising, 0 (the class token) among them. None: all of them.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant, an image size that patches do not fill, or tokens that are not nested.
    """

    timm_names = {
        name: f"deit_{size}_patch16_224" for name, size in zip(VARIANTS, ("tiny", "small", "base"), strict=True)
    }
    variants = VARIANTS

    def __init__(
        self,
        variant: str = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float = 0.1,
        kept: list[list[int]] | None = None,
        **training,
    ):
        super().__init__(variant, num_classes, image_size, None, drop_path, **training)
        if kept is not None:
            before = range(1 + self.grid**2)
            check_nested(kept, len(self.blocks), len(before))
            for block, now in zip(self.blocks, kept, strict=True):
                place = {token: row for row, token in enumerate(before)}
                block.rows, before = torch.tensor([place[token] for token in now]), now
        if weights is not None:
            self.load_weights(weights)

    def block(self, width: int, heads: int, drop_path: float) -> nn.Module:
        return SlimBlock(width, heads, drop_path)

    def slim(self, kept: Sequence[Sequence[int]]) -> "PatchSlimming":
        """A model with these weights that keeps these tokens; this one stays as it is."""
        model = type(self)(**{**self.hparams, "kept": [list(tokens) for tokens in kept]})
        model.load_state_dict(self.state_dict())
        model.untrained = False
        return model.to(self.device).train(self.training)


def check_nested(kept: Sequence[Sequence[int]], depth: int, tokens: int) -> None:
    """Raises ValueError unless there is a list for each block, each of some tokens of the one before, in order."""
    if len(kept) != depth:
        raise ValueError(f"kept has {len(kept)} lists for {depth} blocks: give one for each")
    before = range(tokens)
    for i, now in enumerate(kept):
        if 0 not in now or list(now) != sorted({*now}) or not {*now} <= {*before}:
            raise ValueError(
                f"kept[{i}] must be rising, have 0 (the class token), and be a part of what the block before keeps"
            )
        before = now


def propagate(G: Tensor, P: Tensor, m: Tensor) -> Tensor:
    """G of the block before: sum_h (diag(m) P^h)^T G (diag(m) P^h). G (N, L, L), P (N, H, L, L), m (L,) 0 or 1."""
    A = m.to(P)[:, None] * P
    return (A.transpose(-2, -1) @ G[:, None] @ A).sum(1)


def significance(G: Tensor, P: Tensor, Z: Tensor) -> Tensor:
    """s of every token, the mean over images: G (N, L, L), maps P (N, H, L, L), block's input Z (N, L, D) -> (L,)."""
    U = P @ Z.abs()[:, None]
    return (G.diagonal(dim1=1, dim2=2) * U.square().sum((1, 3))).mean(0)


@torch.no_grad()
def effective(model: PatchSlimming, images: Tensor, eps: float = 0.01, step: int = 10) -> list[list[int]]:
    """The tokens that each block must keep: the search of the paper, from the last block to the first.

    Args:
        model: trained, not slimmed; it is used in eval mode and left in the mode that it had.
        images: (N, 3, S, S), some of the training set.
        eps: error that each block may make, > 0.
        step: tokens added at a time.

    Returns:
        For `slim`.
    """
    with evaluating(model):
        return search(model, *trace(model, images), eps, step)


@torch.no_grad()
def within(model: PatchSlimming, images: Tensor, share: float, step: int = 10, rounds: int = 8) -> list[list[int]]:
    """`effective` with about the least eps at which no more than `share` of the multiply-adds are left.

    Args:
        model, images, step: as for `effective`.
        share: of the multiply-adds, in (0, 1].
        rounds: halvings of the range of eps, which is 2^-20 to 1 and even in its logarithm.

    Raises:
        ValueError: more is left even at eps = 1.
    """
    with evaluating(model):
        features, maps = trace(model, images)
    best, low, high, most = None, -20.0, 0.0, share * multiply_adds(model, None)
    for i in range(rounds + 1):
        exponent = (low + high) / 2 if i else high
        with evaluating(model):
            kept = search(model, features, maps, 2**exponent, step)
        if multiply_adds(model, kept) <= most:
            best, high = kept, exponent
        else:
            low = exponent
        if best is None:
            raise ValueError(f"more than {share:g} of the multiply-adds is left, however large the error: ask for more")
    return best


def multiply_adds(model: PatchSlimming, kept: Sequence[Sequence[int]] | None) -> int:
    """Of one image, with these tokens."""
    with torch.device("meta"):
        return total_macs(type(model)(**{**model.hparams, "kept": kept}), model.image_size)


def search(
    model: PatchSlimming, features: Sequence[Tensor], maps: Sequence[Tensor], eps: float, step: int
) -> list[list[int]]:
    """`effective`, on what `trace` gives."""
    images, length, _ = features[0].shape
    device = features[0].device
    G = torch.eye(length, device=device).expand(images, -1, -1)
    kept, now = [[0]], [0]
    for layer in range(len(maps) - 1, 0, -1):  # block `layer` follows, block `layer - 1` chooses
        mask = torch.zeros(length, device=device).index_fill_(0, torch.tensor(now, device=device), 1)
        G = propagate(G, maps[layer], mask)
        G = G / G.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-30)  # one factor for all images changes no order
        scores = significance(G, maps[layer - 1], features[layer - 1])
        order = [token for token in scores.argsort(descending=True).tolist() if token not in {*now}]
        block, after = model.blocks[layer], now
        while order and error(block, features[layer], features[layer + 1], now, after) > eps:
            now, order = sorted(now + order[:step]), order[step:]
        kept.insert(0, now)
    return kept


def trace(model: ViT, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Z_0, ..., Z_L (N, 1 + L, D) of a ViT, and the maps P_1, ..., P_L (N, H, 1 + L, 1 + L)."""
    features, maps = [model.embed(images)], []
    for block in model.blocks:
        maps.append(block.attn.map(block.norm1(features[-1])))
        features.append(block(features[-1]))
    return features, maps


def error(block: SlimBlock, x: Tensor, full: Tensor, given: Sequence[int], wanted: Sequence[int]) -> float:
    """What a block's `wanted` rows lose if only the `given` ones come in: squared error over squared norm."""
    place = {token: row for row, token in enumerate(given)}
    block.rows = torch.tensor([place[token] for token in wanted], device=x.device)
    slim, full = block(x[:, list(given)]), full[:, list(wanted)]
    block.rows = None
    return ((slim - full).square().sum() / full.square().sum()).item()
