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
          weights and tokens N(0, .02) (the authors' code); box: lambda U(0, 1), sides sqrt(1 - lambda). AdamW,
          lr 4e-4 for 256 images (the authors' 1.6e-3 for 1024; L's is 1e-3), weight decay .05
Differs:  MixToken is off until `TokenLabeling` turns it on, since labels must be mixed too. Without that trick, both
          heads learn through the sum that evaluation takes. The authors paste the mixed patches' logits back; we mix
          their labels (`TokenLabeling`): the loss is the same. Up to 64 px, P is an eighth of the image: ours.
          So is the row 96.
"""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import ADAMW, Training
from zoo.frame.outputs import Outputs
from zoo.layers.drop_path import linear_rates
from zoo.layers.patch_embed import ConvStem, check_size
from zoo.layers.token_classifier import TokenClassifier, TokenRow
from zoo.layers.transformer import SoftenedBlock


@dataclass(frozen=True, kw_only=True)
class Row(TokenRow):
    """A row of the paper's table of variants."""

    stem: int  # channels of the three convolutions
    a: float  # divisor of each branch
    drop_path: float  # probability of the last block


VARIANTS = {
    "T": Row(240, 12, 4, stem=64, a=1, drop_path=0.1),
    "S": Row(384, 16, 6, stem=64, a=2, drop_path=0.1),
    "M": Row(512, 20, 8, stem=64, a=2, drop_path=0.2),
    "L": Row(768, 24, 12, stem=128, a=3, drop_path=0.3),
    "96": Row(96, 4, 3, across=4, stem=32, a=1, drop_path=0.0),
}


def box(grid: int, lam: Tensor, centre: Tensor) -> Tensor:
    """Return which cells of a grid come from the other image: those in a box of sides floor(grid sqrt(1 - lambda)).

    Args:
        grid: cells a side.
        lam: lambda, () in [0, 1). Odd sides of the box lose one cell.
        centre: row and column (2,), whole numbers in [0, grid). What falls outside the grid is cut off.

    Returns:
        bool (grid, grid).
    """
    half = (grid * (1 - lam).sqrt()).floor() // 2
    cells = torch.arange(grid, device=centre.device)
    inside = (cells >= (centre - half)[:, None]) & (cells < (centre + half)[:, None])  # (2, grid)
    return inside[0][:, None] & inside[1]


class LVViT(TokenClassifier):
    """`LVViT("S")` for ImageNet, `LVViT("T", num_classes=10, image_size=32)` for CIFAR-10; train with `TokenLabeling`.

    The stages are the four quarters of the blocks; their features are tokens (N, 1 + L, D), the class token first.
    In training `extras` has `"class"` (N, K), `"token_logits"` (N, L, K), and `"mixed"`: None, or the box of patches
    that image n takes from image N - 1 - n of the batch, bool (grid, grid).

    Args:
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.
            None: the paper's for the variant.

    Attributes:
        mix_token: whether training mixes tokens; `TokenLabeling` sets it.

    Raises:
        ValueError: an image size that is no multiple of the patch, or whose patches are of odd size.
    """

    variants = VARIANTS
    training_defaults = ADAMW | {"lr": 4e-4}

    def __init__(
        self,
        variant: str | int = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        rates = linear_rates(row.drop_path if drop_path is None else drop_path, (row.depth,))[0]
        blocks = (SoftenedBlock(row.width, row.heads, rate, row.a) for rate in rates)
        self.add_layers(blocks, row.width, ConvStem(self.patch, row.stem, row.width), eps=1e-5)
        self.aux_head = nn.Linear(row.width, num_classes)
        self.mix_token = False
        self.initialise()

    def embed(self, x: Tensor, mixed: Tensor | None = None) -> Tensor:
        """Compute the tokens (N, 1 + L, D) with their positions; `mixed` patches are of the mirrored image."""
        check_size(x, self.image_size, "LVViT")
        patches = self.patch_embed(x)
        if mixed is not None:
            patches = torch.where(mixed.view(-1, 1), patches.flip(0), patches)
        return self.add_positions(patches)

    def forward(self, x: Tensor) -> Outputs:
        mixed = self.draw_box() if self.training and self.mix_token else None
        z = self.norm(self.blocks(self.embed(x, mixed)))
        of_class, of_tokens = self.head(z[:, 0]), self.aux_head(z[:, 1:])
        logits = of_class + of_tokens.amax(1) / 2
        return (logits, {"class": of_class, "token_logits": of_tokens, "mixed": mixed}) if self.training else logits

    def draw_box(self) -> Tensor:
        """Draw one box for the batch: lambda from U(0, 1), as in the authors' code, and a uniform centre."""
        device = self.pos_embed.device
        return box(self.grid, torch.rand((), device=device), torch.randint(self.grid, (2,), device=device))
