"""DVT: a cascade of three ViTs on ever more tokens, in which easy images leave at the first.

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
          drop_path .1, weights and tokens N(0, .02); LN's epsilon 1e-6 DeiT, 1e-5 T2T (all the authors' code)
Differs:  nothing at 224 px: logits are the authors' to 1e-6, as is f of the last block, which reaches no class token
          and so has no effect. The paper searches thresholds with a genetic algorithm; `thresholds` is the authors'
          code, with shares of images in geometric progression. The last exit's threshold is not looked at. Random
          features of T2T are in float32 at any precision; they and its positions are buffers. Up to 64 px, patches are
          S/4, 3S/16 and S/8, so 4^2, 6^2 and 8^2 tokens, not in the paper, which enlarges CIFAR's images to 224 px;
          T2T is for more than 64 px. DeiT-Ti, for small images, is not in the paper.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import vit
from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.basic import DropPath, linear_rates
from zoo.layers.t2t import TokensToToken, sines, soft_grid
from zoo.tools import complexity
from zoo.vit import Attention, init_weights, resize_positions

#        width D, blocks, heads, the MLP's hidden width / D
VARIANTS = {
    "DeiT-Ti": (192, 12, 3, 4),
    "DeiT-S": (384, 12, 6, 4),
    "T2T-12": (256, 12, 4, 2),
    "T2T-14": (384, 14, 6, 3),
}
PATCHES = (32, 23, 16)  # sides in pixels, one for each exit
SPLITS = ((14, 8, 3), (11, 6, 5), (7, 4, 2))  # T2T's first: kernel, stride, padding
NAMES = ("less_less_token", "less_token", "normal_token")  # the authors'
HIDDEN, REUSED = 128, 48  # widths of f


# ---- what an exit takes from the one before


def up(x: Tensor, grid: int) -> Tensor:
    """Rows of a class token and a map, from one grid to another: (N, C, 1 + g^2) -> (N, C, 1 + grid^2)."""
    cells = x[..., 1:].unflatten(-1, [math.isqrt(x.shape[-1] - 1)] * 2)
    cells = F.adaptive_avg_pool2d(F.interpolate(cells, scale_factor=2.0), grid)
    return torch.cat([x[..., :1], cells.flatten(2)], -1)


def up_features(x: Tensor, grid: int) -> Tensor:
    """Features of tokens; the class token's become 0: (N, 1 + g^2, D) -> (N, 1 + grid^2, D)."""
    return up(F.pad(x[:, 1:], (0, 0, 1, 0)).mT, grid).mT


def up_relations(x: Tensor, grid: int) -> Tensor:
    """Who looks at whom, columns then rows: (N, C, 1 + g^2, 1 + g^2) -> (N, C, 1 + grid^2, 1 + grid^2)."""
    c = x.shape[1]
    for _ in range(2):
        x = up(x.flatten(1, 2), grid).unflatten(1, (c, -1)).mT
    return x


class ScoringAttention(Attention):
    """ViT's attention, and its scores. Shapes: (N, L, D), (N, H, L, L) -> (N, L, D), (N, H, L, L)."""

    def forward(self, x: Tensor, relation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        q, k, v = self.split(x)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        scores = scores if relation is None else scores + relation
        y = scores.softmax(-1).to(v.dtype) @ v
        return self.proj(self.heads_out(y).transpose(1, 2).flatten(2)), scores


class MLP(vit.MLP):
    """Two linear layers on each token. Shapes: (N, L, c_in) -> (N, L, c_out)."""

    def __init__(self, c_in: int, hidden: int, c_out: int):
        super().__init__(c_in, hidden)
        self.fc2 = nn.Linear(hidden, c_out)


class Block(nn.Module):
    """ViT's, with the scores and features of the exit before, if there is one. Shapes of tokens: (N, L, D) -> same."""

    def __init__(self, row: tuple[int, int, int, int], t2t: bool, reuses: bool, drop_path: float):
        super().__init__()
        (width, _, heads, ratio), eps = row, 1e-5 if t2t else 1e-6
        c_in = width + REUSED if reuses else width
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = ScoringAttention(width, heads, qkv_bias=not t2t)
        self.norm2 = nn.LayerNorm(c_in, eps=eps)
        self.mlp = MLP(c_in, ratio * width, width)
        if reuses:
            self.feature_resuse_mlp = nn.Sequential(nn.LayerNorm(width, eps=eps), MLP(width, HIDDEN, REUSED))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, features: Tensor | None, relation: Tensor | None) -> tuple[Tensor, Tensor]:
        y, scores = self.attn(self.norm1(x), relation)
        x = y = x + self.drop_path(y)
        if features is not None:
            y = torch.cat([x, up_features(self.feature_resuse_mlp(features), math.isqrt(x.shape[1] - 1))], -1)
        return x + self.drop_path(self.mlp(self.norm2(y))), scores


class Exit(nn.Module):
    """One ViT of the cascade, number i of 0 to 2.

    Shapes: images (N, 3, S, S), and of the exit before the tokens (N, 1 + g^2, D) and each layer's scores
    (N, H, 1 + g^2, 1 + g^2) -> logits (N, K), and its own tokens and scores, which the next one takes.
    """

    def __init__(
        self, i: int, row: tuple[int, int, int, int], grid: int, num_classes: int, drop_path: float, t2t: bool
    ):
        super().__init__()
        width, depth, heads, _ = row
        self.grid, self.last, c = grid, i == len(NAMES) - 1, depth * heads
        self.cls_token = nn.Parameter(nn.init.normal_(torch.zeros(1, 1, width), std=0.02))
        if i > 0:
            self.relation_reuse_conv = nn.Sequential(nn.Conv2d(c, 3 * c, 1), nn.GELU(), nn.Conv2d(3 * c, c, 1))
        self.blocks = nn.ModuleList(Block(row, t2t, i > 0, rate) for rate in linear_rates(drop_path, (depth,))[0])
        self.norm = nn.LayerNorm(width, eps=1e-5 if t2t else 1e-6)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor, before: tuple[Tensor, list[Tensor]] | None = None):
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), self.patches(x)], 1) + self.pos_embed
        features, relations, scores = None, [None] * len(self.blocks), []
        if before is not None:
            features, relations = before
            relations = up_relations(self.relation_reuse_conv(torch.cat(relations, 1)), self.grid)
            relations = relations.chunk(len(self.blocks), 1)
        for block, relation in zip(self.blocks, relations, strict=True):
            x, score = block(x, features, relation)
            if not self.last:
                scores.append(score)
        return self.head(self.norm(x)[:, 0]), (x, scores)


class DeiTExit(Exit):
    """Its tokens are patches of P px, which together may be wider than the image, and learned positions."""

    def __init__(self, i: int, row: tuple[int, int, int, int], image_size: int, num_classes: int, drop_path: float):
        patch = PATCHES[i] if image_size > SMALL else max(1, (4, 3, 2)[i] * image_size // 16)
        grid = math.ceil(image_size / patch)
        super().__init__(i, row, grid, num_classes, drop_path, t2t=False)
        self.patch_embed = vit.Patches(patch, row[0])
        self.patch_embed.proj = nn.Conv2d(3, row[0], patch, stride=patch, padding=(grid * patch - image_size + 1) // 2)
        self.pos_embed = nn.Parameter(nn.init.normal_(torch.zeros(1, 1 + grid**2, row[0]), std=0.02))

    def patches(self, x: Tensor) -> Tensor:
        return self.patch_embed(x)


class T2TExit(Exit):
    """Its tokens are soft splits, and sines as positions."""

    def __init__(self, i: int, row: tuple[int, int, int, int], image_size: int, num_classes: int, drop_path: float):
        super().__init__(i, row, soft_grid(image_size, SPLITS[i]), num_classes, drop_path, t2t=True)
        self.tokens_to_token = TokensToToken(SPLITS[i], row[0])
        self.register_buffer("pos_embed", sines(1 + self.grid**2, row[0])[None])

    def patches(self, x: Tensor) -> Tensor:
        return self.tokens_to_token(x)


class DVT(Classifier):
    """`DVT("DeiT-S")` for ImageNet, `DVT("DeiT-Ti", num_classes=10, image_size=32)` for CIFAR-10.

    `model(images)` takes all three ViTs. For less work, find thresholds once, with a trained model in eval mode, on
    images that it has not learned by heart, and let each image leave where it is sure:

        logits = torch.stack(model.exits(images))
        eta = thresholds(logits, model.macs(), budget=2e9, targets=targets)
        logits, exits = model.early_exit(images, eta)

    The stages are the three ViTs; their features are tokens (N, 1 + L, D), the class token first.

    Args:
        variant: a key of `VARIANTS`: "DeiT-Ti" "DeiT-S" "T2T-12" "T2T-14".
        num_classes: K.
        image_size: side S of the images in pixels; up to 64, patches are S/4, 3S/16 and S/8. None: 224.
        weights: see `Classifier.load_weights`; those of a DeiT do too: all three ViTs start from it. None: random.
        drop_path: probability that an example skips the last block of each ViT, in [0, 1), rising linearly from 0 at
            the first.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are), or T2T at 64 px and less.
    """

    timm_names = {"DeiT-Ti": "deit_tiny_patch16_224", "DeiT-S": "deit_small_patch16_224"}  # where fine-tuning may start

    def __init__(
        self,
        variant: str = "DeiT-S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float = 0.1,
        **training,
    ):
        row, image_size = VARIANTS[validate_choice(variant, VARIANTS, "DVT")], image_size or 224
        t2t = variant.startswith("T2T")
        if t2t and image_size <= SMALL:
            raise ValueError(
                f"{variant} has too few tokens at image_size={image_size}: enlarge images, or take DeiT-Ti"
            )
        super().__init__(num_classes=num_classes, image_size=image_size, **training)
        self.stage_paths: dict[str, str] = {}
        for i, name in enumerate(NAMES):
            self.add_module(name, (T2TExit if t2t else DeiTExit)(i, row, image_size, num_classes, drop_path))
            self.stage_paths[f"stage{i + 1}"] = f"{name}.norm"
        self.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    @property
    def cascade(self) -> list[Exit]:
        """The three ViTs."""
        return [getattr(self, name) for name in NAMES]

    def exits(self, x: Tensor) -> list[Tensor]:
        """Images (N, 3, S, S) -> the logits of each exit, three of (N, K)."""
        self.check_size(x)
        all_logits, before = [], None
        for net in self.cascade:
            logits, before = net(x, before)
            all_logits.append(logits)
        return all_logits

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, dict[str, list[tuple[float, Tensor]]]]:
        *early, logits = self.exits(x)
        return (logits, {"aux": [(1.0, each) for each in early]}) if self.training else logits

    @torch.no_grad()
    def early_exit(self, images: Tensor, thresholds: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Each image leaves at the first exit whose largest probability reaches that exit's threshold; in eval mode.

        Later ViTs see the images that are left, no others.

        Args:
            images: (N, 3, S, S).
            thresholds: three; the last is not looked at: all that is left leaves there.

        Returns:
            Logits (N, K), and from which exit they are (N,), from 0.
        """
        self.check_size(images)
        left, before = torch.arange(len(images), device=images.device), None
        logits, exits = images.new_zeros(len(images), self.num_classes), torch.zeros_like(left)
        for i, (net, threshold) in enumerate(zip(self.cascade, thresholds, strict=True)):
            z, before = net(images[left], before)
            logits = logits.to(z.dtype).index_copy(0, left, z)
            exits[left] = i
            unsure = ~(confidences(z) >= threshold)
            if net.last or not unsure.any():
                break
            left, before = left[unsure], (before[0][unsure], [scores[unsure] for scores in before[1]])
        return logits, exits

    def macs(self) -> list[int]:
        """Multiply-adds of an image that leaves at the first, the second, the last exit."""
        flops = complexity._flops(self, self.image_size)
        return [total // 2 for total in accumulate(flops[name] for name in NAMES)]

    def check_size(self, x: Tensor) -> None:
        """Raises ValueError unless the images have the size that the positions are for."""
        vit.ViT.check_size(self, x)

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of another image size; those of a ViT, for all three, where what is reused starts afresh."""
        ours = self.state_dict()
        if any(key.startswith(NAMES) for key in state):
            return {key: fitted(x, ours.get(key, x)) for key, x in state.items()}
        state = {f"{name}.{key}": x for name in NAMES for key, x in state.items()}
        return ours | {key: fitted(x, ours.get(key, x)) for key, x in state.items()}


def fitted(x: Tensor, ours: Tensor) -> Tensor:
    """Positions and patches interpolated to our size; layers without the reused features, with ours. Others: as is."""
    if x.ndim == 3 and x.shape[1] != ours.shape[1]:
        return resize_positions(x, math.isqrt(ours.shape[1] - 1), 1)
    if x.ndim == 4 and x.shape[2:] != ours.shape[2:]:
        area = (x.shape[2] / ours.shape[2]) ** 2
        return area * F.interpolate(x, ours.shape[2:], mode="bicubic", antialias=True, align_corners=False)
    if x.ndim < 3 and x.shape[-1] + REUSED == ours.shape[-1]:
        return torch.cat([x, ours[..., x.shape[-1] :].to(x)], -1)
    return x


# ---- when to leave


def confidences(logits: Tensor) -> Tensor:
    """The largest probability: logits (..., K) -> (...)."""
    return logits.float().softmax(-1).amax(-1)


def leaving(sure: Tensor, thresholds: Sequence[float]) -> Tensor:
    """The first exit at which each image is sure enough, the last at the latest: confidences (E, N) -> (N,)."""
    enough = sure >= torch.tensor(thresholds, device=sure.device)[:, None]
    enough[-1] = True
    return enough.int().argmax(0)


def quantiles(sure: Tensor, shares: Sequence[float]) -> list[float]:
    """Thresholds with which floor(share N) of N images leave at each exit but the last; inf where that is none.

    Args:
        sure: confidences (E, N).
        shares: E, of sum 1.
    """
    gone, thresholds = torch.zeros_like(sure[0], dtype=torch.bool), []
    for of_exit, share in zip(sure[:-1], shares, strict=False):
        count = math.floor(share * len(gone))
        left = of_exit[~gone].sort(descending=True).values
        thresholds.append(left[count - 1].item() if 0 < count <= len(left) else math.inf)
        gone |= of_exit >= thresholds[-1]
    return [*thresholds, 0.0]


def thresholds(logits: Tensor, macs: Sequence[int], budget: float, targets: Tensor | None = None) -> list[float]:
    """The authors' search: 59 ways to share images out among the exits, p^k of them to exit k with p = 1/20 ... 59/20.

    Args:
        logits: of all exits (E, N, K), `torch.stack(model.exits(images))`.
        macs: what an image costs that leaves at each exit, E, as `model.macs()`.
        budget: how much an image may cost in the mean over these images.
        targets: (N,): take the most accurate way within the budget. None: the most expensive one.

    Returns:
        Thresholds, one for each exit, for `early_exit`.

    Raises:
        ValueError: if no way is within the budget; says what the cheapest costs.
    """
    sure, classes, cost = confidences(logits), logits.argmax(-1), torch.tensor(macs, dtype=torch.float64)
    ways = []
    for p in range(1, 60):
        shares = torch.tensor([(p / 20) ** k for k in range(1, len(macs) + 1)])
        eta = quantiles(sure, (shares / shares.sum()).tolist())
        exits = leaving(sure, eta)
        mean = cost.to(exits.device)[exits].mean().item()
        score = mean if targets is None else (classes.gather(0, exits[None])[0] == targets).float().mean().item()
        ways.append((score, -mean, eta))
    affordable = [way for way in ways if -way[1] <= budget]
    if not affordable:
        cheapest = min(-mean for _, mean, _ in ways)
        raise ValueError(
            f"budget={budget:.4g} is less than the {cheapest:.4g} multiply-adds of the cheapest thresholds"
        )
    return max(affordable)[2]
