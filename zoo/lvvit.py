"""LV-ViT: a ViT with a convolutional stem, a softened residual, and a label for every token.

Paper:    All Tokens Matter: Token Labeling for Training Better Vision Transformers (Jiang, Hou, Yuan, Zhou, Shi, Jin,
          Wang, Feng; NeurIPS 2021) https://arxiv.org/abs/2104.10858, section 3 and its table of variants
Code:     https://github.com/zihangJiang/TokenLabeling at 9dbfd59 (the authors'; keys and function of `lvvit_t`,
          `lvvit_s`, `lvvit_m`, `lvvit_l`: with random weights, T and S give their logits to 3e-6)
Block:    z' = z + MSA(LN(z)) / a,  z = z' + MLP(LN(z')) / a,  no bias in Q, K, V;  MLP: D -> 3D -> D. Logits: W z^0 +
          1/2 max_i V z^i, of the class token and of the L patches. Training can paste a box of another image's
          patches into each image's (MixToken), between the stem and the blocks: M T + (1 - M) T'
Shapes:   (N, 3, S, S) -conv 7x7 of stride 2, two 3x3-> (N, 64, S/2, S/2) -conv of P/2-> (N, (S/P)^2, D) -class token,
          + E_pos, blocks-> same + 1 -> (N, K), and in training the tokens' logits (N, L, K) as `extras["token_logits"]`
Defaults: a and widths: the table below; drop_path .1 S, .2 M, .3 L (the authors' README; T as S); LN's epsilon 1e-5;
          weights and tokens N(0, .02) (the authors' code); box: lambda U(0, 1), sides sqrt(1 - lambda)
Differs:  MixToken is off until `TokenLabeling` asks for it, since labels must be mixed too; without that trick both
          heads learn through the sum that evaluation takes. The authors paste the mixed patches' logits back, we mix
          their labels (`TokenLabeling`): the same sum. Up to 64 px, P is an eighth of the image: not in the paper.
"""

import torch
from torch import Tensor, nn

from zoo import vit
from zoo.frame.checks import validate_choice
from zoo.layers.basic import DropPath
from zoo.vit import MLP, Attention, ViT

#        width D, blocks L, heads H, channels of the stem, a, drop_path; patches of 16 px
VARIANTS = {
    "T": (240, 12, 4, 64, 1, 0.1),
    "S": (384, 16, 6, 64, 2, 0.1),
    "M": (512, 20, 8, 64, 2, 0.2),
    "L": (768, 24, 12, 128, 3, 0.3),
}
SOFTENING = {row[0]: row[4] for row in VARIANTS.values()}  # a, by width


class Stem(nn.Module):
    """Three convolutions, then patches of half the size. Shapes: (N, 3, S, S) -> (N, (S/P)^2, D), row by row.

    Raises:
        ValueError: for patches of an odd size.
    """

    def __init__(self, patch: int, c: int, width: int):
        super().__init__()
        if patch % 2:
            raise ValueError(f"LV-ViT's stem halves images, so patches are of even size, got {patch} px: another size")
        self.conv1 = nn.Conv2d(3, c, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)
        self.conv3 = nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)
        self.proj = nn.Conv2d(c, width, kernel_size=patch // 2, stride=patch // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.conv3(x)))
        return self.proj(x).flatten(2).transpose(1, 2)


class Block(vit.Block):
    """ViT's, with each branch divided by a. Shapes: (N, L, D) -> (N, L, D)."""

    def __init__(self, width: int, heads: int, drop_path: float, a: float):
        nn.Module.__init__(self)
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, qkv_bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, 3 * width)
        self.drop_path = DropPath(drop_path)
        self.a = a

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), mask)) / self.a
        return x + self.drop_path(self.mlp(self.norm2(x))) / self.a


def box(grid: int, kept: Tensor, centre: Tensor) -> Tensor:
    """Which cells of a grid come from the other image.

    Args:
        grid: cells a side.
        kept: lambda, () in [0, 1): the sides of the box are floor(grid sqrt(1 - lambda)), odd ones one less.
        centre: row and column (2,), whole numbers in [0, grid); what falls outside the grid is cut off.

    Returns:
        bool (grid, grid).
    """
    half = (grid * (1 - kept).sqrt()).floor() // 2
    cells = torch.arange(grid, device=centre.device)
    inside = (cells >= (centre - half)[:, None]) & (cells < (centre + half)[:, None])  # (2, grid)
    return inside[0][:, None] & inside[1]


class LVViT(ViT):
    """`LVViT("S")` for ImageNet, `LVViT("T", num_classes=10, image_size=32)` for CIFAR-10; train with `TokenLabeling`.

    The stages are the four quarters of the blocks; their features are tokens (N, 1 + L, D), the class token first.
    In training `extras` has `"class"` (N, K), `"token_logits"` (N, L, K), and `"mixed"`: which patches are of the image
    at the mirrored place of the batch, bool (grid, grid), or None.

    Args:
        variant: a key of `VARIANTS`: "T" "S" "M" "L".
        num_classes: K.
        image_size: side S of the images in pixels, a multiple of 16; up to 64 the patch is S/8. None: 224.
        weights: see `Classifier.load_weights`; positions of another image size are interpolated. None: random.
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.
            None: the paper's for the variant.
        training: training arguments of `Classifier`.

    Attributes:
        mix_token: whether training mixes tokens; `TokenLabeling` sets it.

    Raises:
        ValueError: for an unknown variant (says which there are) or an image size that patches do not fill.
    """

    timm_names = {}
    variants = {name: (*row[:3], 16) for name, row in VARIANTS.items()}

    def __init__(
        self,
        variant: str = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float | None = None,
        **training,
    ):
        width, _, _, c, _, usual_drop_path = VARIANTS[validate_choice(variant, VARIANTS, type(self).__name__)]
        drop_path = usual_drop_path if drop_path is None else drop_path
        super().__init__(variant, num_classes, image_size, None, drop_path, **training)
        self.patch_embed = Stem(self.image_size // self.grid, c, width)
        self.norm = nn.LayerNorm(width)
        self.aux_head = nn.Linear(width, num_classes)
        self.mix_token = False
        self.initialise()
        if weights is not None:
            self.load_weights(weights)

    def block(self, width: int, heads: int, drop_path: float) -> nn.Module:
        return Block(width, heads, drop_path, SOFTENING[width])

    def embed(self, x: Tensor, mixed: Tensor | None = None) -> Tensor:
        """Images (N, 3, S, S) -> tokens (N, 1 + L, D), with their positions; `mixed` as in `extras`."""
        self.check_size(x)
        x = self.patch_embed(x)
        x = x if mixed is None else torch.where(mixed.view(-1, 1), x.flip(0), x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        return self.patch_drop(x + self.pos_embed)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, dict[str, Tensor | None]]:
        mixed = self.draw_box() if self.training and self.mix_token else None
        z = self.norm(self.blocks(self.embed(x, mixed)))
        of_class, of_tokens = self.head(z[:, 0]), self.aux_head(z[:, 1:])
        logits = of_class + of_tokens.amax(1) / 2
        return (logits, {"class": of_class, "token_logits": of_tokens, "mixed": mixed}) if self.training else logits

    def draw_box(self) -> Tensor:
        """One box for the batch; lambda is Beta(1, 1), as the authors have it."""
        where = {"device": self.pos_embed.device}
        return box(self.grid, torch.rand((), **where), torch.randint(self.grid, (2,), **where))
