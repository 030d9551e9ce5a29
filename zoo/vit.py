"""ViT: an image as a sequence of patches, read by a transformer encoder.

Paper:    An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale (Dosovitskiy et al.; ICLR 2021)
          https://arxiv.org/abs/2010.11929, equations 1 to 4, Table 1 (B, L, H); Ti and S: Training data-efficient image
          transformers (Touvron et al.; ICML 2021) https://arxiv.org/abs/2012.12877, Table 1; the block: Attention Is
          All You Need (Vaswani et al.; NeurIPS 2017) https://arxiv.org/abs/1706.03762, section 3.2
Code:     https://github.com/google-research/vision_transformer at c6de1e5 (the authors', JAX); keys and functions of
          timm 1.0 `vit_*_patch*` and `deit_*_patch16_*`
Block:    z' = z + MSA(LN(z)),  z = z' + MLP(LN(z')),   MSA(x) = W_o concat_h(softmax(Q_h K_h^T / sqrt(d)) V_h),
          d = D / H;  MLP(x) = W2 GELU(W1 x),  W1: D -> 4D,  W2: 4D -> D
Shapes:   (N, 3, S, S) -patches of P px-> (N, (S/P)^2, D) -class token, + E_pos-> (N, 1 + (S/P)^2, D) -blocks-> same
          -LN of the class token-> (N, D) -> (N, K)
Defaults: drop_path 0 (the paper has none; DeiT .1); weights, E_pos and tokens N(0, .02), biases 0 (DeiT's
          code); LN's epsilon 1e-6 (both)
Differs:  no dropout (paper: .1 after dense layers, on ImageNet alone): that is for tricks. The head is one linear
          layer, as in the paper's fine-tuning; its pre-training has a tanh layer before it. Up to 64 px, patches are
          an eighth of the image (CIFAR: 4 px, Tiny-ImageNet: 8), whatever the variant says: not in the paper, nor is
          Ti/32.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.basic import DropPath, linear_rates

#        width D, blocks L, heads H: Table 1; patch P in pixels
VARIANTS = {
    "Ti/16": (192, 12, 3, 16),
    "Ti/32": (192, 12, 3, 32),
    "S/16": (384, 12, 6, 16),
    "S/32": (384, 12, 6, 32),
    "B/16": (768, 12, 12, 16),
    "B/32": (768, 12, 12, 32),
    "L/16": (1024, 24, 16, 16),
    "L/32": (1024, 24, 16, 32),
    "H/14": (1280, 32, 16, 14),
}


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, written out.

    Args:
        q, k, v: (N, H, L, d).
        mask: what is added to the scores, of a shape that broadcasts to (N, H, L, L); None: nothing.

    Returns:
        The values' means (N, H, L, d), and the map: the weights (N, H, L, L), each row of sum 1.
    """
    scores = q @ k.transpose(-2, -1) / sqrt(q.shape[-1])
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return weights @ v, weights


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The means alone, by torch's kernel. Not in bfloat16 on a CPU, where the equation takes a third of its time."""
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        return attention(q, k, v, mask)[0]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class Attention(nn.Module):
    """Multi-head self-attention. Shapes: (N, L, D) -> (N, L, D).

    `heads_out` does nothing to the heads' outputs (N, H, L, d), which tricks may hook there (DropHead).

    Attributes:
        fused: take torch's kernel, which is faster and has no map; else the equation as written.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True):
        super().__init__()
        self.heads, self.fused = heads, True
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.heads_out = nn.Identity()
        self.proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Q, K and V of every head, each (N, H, L, d)."""
        n, length, _ = x.shape
        return self.qkv(x).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()

    def map(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Who looks at whom: (N, H, L, L), rows of sum 1."""
        return attention(*self.split(x), mask)[1]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.split(x)
        if self.fused:
            y = fused_attention(q, k, v, mask)
        else:
            y, _ = attention(q, k, v, mask)
        return self.proj(self.heads_out(y).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers, on each token alone. Shapes: (N, L, D) -> (N, L, D)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Attention between tokens, then an MLP on each. Shapes: (N, L, D) -> (N, L, D)."""

    def __init__(self, width: int, heads: int, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Patches(nn.Module):
    """Cuts the image into patches and embeds each. Shapes: (N, 3, S, S) -> (N, (S/P)^2, D), row by row."""

    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(Classifier):
    """`ViT("B/16")` for ImageNet, `ViT("Ti/16", num_classes=10, image_size=32)` for CIFAR-10, with patches of 4 px.

    The stages are the four quarters of the blocks; their features are tokens (N, 1 + L, D), the class token first.

    Args:
        variant: a key of `VARIANTS`: "Ti/16" "Ti/32" "S/16" "S/32" "B/16" "B/32" "L/16" "L/32" "H/14".
        num_classes: K.
        image_size: side S of the images in pixels, a multiple of the patch; up to 64 the patch is S/8. None: 224.
        weights: see `Classifier.load_weights`; positions of another image size are interpolated. None: random.
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or an image size that patches do not fill.
    """

    timm_names = {
        "Ti/16": ("vit_tiny_patch16_224", "vit_tiny_patch16_384", "deit_tiny_patch16_224"),
        "S/16": ("vit_small_patch16_224", "vit_small_patch16_384", "deit_small_patch16_224"),
        "S/32": ("vit_small_patch32_224", "vit_small_patch32_384"),
        "B/16": ("vit_base_patch16_224", "vit_base_patch16_384", "deit_base_patch16_224", "deit_base_patch16_384"),
        "B/32": ("vit_base_patch32_224", "vit_base_patch32_384"),
        "L/16": ("vit_large_patch16_224", "vit_large_patch16_384"),
        "L/32": ("vit_large_patch32_224", "vit_large_patch32_384"),
        "H/14": ("vit_huge_patch14_224",),
    }
    variants = VARIANTS
    prefix = 1  # tokens before those of the patches

    def __init__(
        self,
        variant: str = "B/16",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float = 0.0,
        **training,
    ):
        width, depth, heads, patch = self.variants[validate_choice(variant, self.variants, type(self).__name__)]
        image_size = image_size or 224
        patch = patch_for(image_size, patch)
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        self.grid = image_size // patch
        self.patch_embed = Patches(patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.prefix + self.grid**2, width))
        self.patch_drop = nn.Identity()  # where tricks take tokens out (PatchDropout)
        self.blocks = nn.Sequential(*(self.block(width, heads, rate) for rate in linear_rates(drop_path, (depth,))[0]))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        self.stage_paths = {f"stage{i}": f"blocks.{depth * i // 4 - 1}" for i in (1, 2, 3, 4)}
        self.initialise()
        if weights is not None:
            self.load_weights(weights)

    def block(self, width: int, heads: int, drop_path: float) -> nn.Module:
        """One of the blocks; a model that changes them overrides this."""
        return Block(width, heads, drop_path)

    def initialise(self) -> None:
        for token in (self.cls_token, self.pos_embed):
            nn.init.normal_(token, std=0.02)
        self.apply(init_weights)

    def embed(self, x: Tensor) -> Tensor:
        """Equation 1: images (N, 3, S, S) -> tokens (N, 1 + L, D), with their positions."""
        self.check_size(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), self.patch_embed(x)], 1)
        return self.patch_drop(x + self.pos_embed)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.embed(x))  # equations 2 and 3
        return self.head(self.norm(x)[:, 0])

    def check_size(self, x: Tensor) -> None:
        """Raises ValueError unless the images have the size that the positions are for."""
        if x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"{type(self).__name__} has positions for images of {self.image_size} x {self.image_size} px, got "
                f"{x.shape[-2]} x {x.shape[-1]}: make it with image_size={x.shape[-1]}; weights are interpolated"
            )

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of another image size, with their positions interpolated to this one's, and a head if they have none.

        timm has H/14, and what was trained without labels (DINO, MAE), without one.
        """
        theirs = state.get("pos_embed")
        if theirs is not None and not {"head.weight", "head.bias"} & {*state}:
            rank_zero_info("these weights have no head: head.bias, head.weight start afresh")
            state = {f"head.{key}": value for key, value in self.head.state_dict().items()} | state
        if theirs is None or theirs.shape[1] == self.pos_embed.shape[1] or theirs.shape[2:] != self.pos_embed.shape[2:]:
            return state
        return state | {"pos_embed": resize_positions(theirs, self.grid, self.prefix)}


def resize_positions(positions: Tensor, grid: int, prefix: int) -> Tensor:
    """Interpolates those of the patches, bicubic as in DeiT: (1, prefix + g^2, D) -> (1, prefix + grid^2, D)."""
    first, patches = positions[:, :prefix].float(), positions[:, prefix:].float()
    side = round(sqrt(patches.shape[1]))
    patches = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, (grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([first, patches.flatten(2).transpose(1, 2)], 1).to(positions.dtype)


def patch_for(image_size: int, patch: int) -> int:
    """Side of a patch in pixels. Raises ValueError where patches do not fill the image."""
    if image_size <= SMALL:
        patch = max(1, image_size // 8)
    if image_size % patch:
        raise ValueError(f"image_size={image_size} is no multiple of the patch's {patch} px: change one of them")
    return patch


def init_weights(module: nn.Module) -> None:
    """Linear layers N(0, .02), biases 0; the embedding of patches as torch has it (so DeiT's code)."""
    # The authors' truncation, here and in other files, is at +-2, which is 100 deviations: it cuts nothing off. And
    # torch 2.11's gives 2 itself to one weight in 2^24.
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
