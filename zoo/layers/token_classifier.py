"""A classifier of patches: what ViT, DeiT, LV-ViT, DynamicViT, EViT, patch slimming and MoE-ViT have in common.

Paper:    An Image is Worth 16x16 Words (Dosovitskiy et al.; ICLR 2021) https://arxiv.org/abs/2010.11929, equation 1
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from zoo.frame.arguments import ADAMW
from zoo.frame.model import Model
from zoo.layers.init import normal_02_linear
from zoo.layers.patch_embed import PatchEmbed, check_size, patch_side, resize_positions


@dataclass(frozen=True)
class TokenRow:
    """A row of the paper's table of transformers."""

    width: int  # D, of the tokens
    depth: int  # number of blocks
    heads: int  # H, of each attention
    patch: int = 16  # P in pixels, of images of more than 64 px
    across: int = 8  # patches a side, of images of up to 64 px


# Table 1 of Training data-efficient image transformers (Touvron et al.; ICML 2021) https://arxiv.org/abs/2012.12877
DEIT = {
    "Ti": TokenRow(192, 12, 3),
    "S": TokenRow(384, 12, 6),
    "B": TokenRow(768, 12, 12),
}
SMALL = TokenRow(96, 4, 3, across=4)  # ours, for images of 16 px
# timm's DeiTs without a teacher's token
DEIT_NAMES: dict[str, str | tuple[str, ...]] = {
    "Ti": "deit_tiny_patch16_224",
    "S": "deit_small_patch16_224",
    "B": ("deit_base_patch16_224", "deit_base_patch16_384"),
}


class TokenClassifier(Model):
    """Patch embedding, class token, positions, blocks, norm and head. A model adds its blocks and its `forward`.

    The training defaults are DeiT's.

    Attributes:
        prefix: number of tokens before those of the patches.
        grid: patches a side, S/P.
        patch_drop: an identity on the tokens, where tricks may remove some (PatchDropout).
    """

    prefix = 1
    block_path = "blocks.1"
    training_defaults = ADAMW

    @property
    def patch(self) -> int:
        """P, side of a patch in pixels: the row's, or a row's part (an eighth) of images of up to 64 px."""
        row = self.variants[self.variant]
        return patch_side(self.image_size, row.patch, row.across)

    def add_layers(
        self, blocks: Iterable[nn.Module], width: int, stem: nn.Module | None = None, eps: float = 1e-6
    ) -> None:
        """Create the layers, and name the four quarters of the blocks as stages.

        Args:
            blocks: (N, L, D) -> (N, L, D), in order.
            width: D.
            stem: (N, 3, S, S) -> (N, (S/P)^2, D). None: `PatchEmbed`.
            eps: epsilon of the last layer norm.
        """
        self.grid = self.image_size // self.patch
        self.patch_embed = PatchEmbed(self.patch, width) if stem is None else stem
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.prefix + self.grid**2, width))
        self.patch_drop = nn.Identity()
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.head = nn.Linear(width, self.num_classes)
        depth = len(self.blocks)
        self.stage_paths = tuple(f"blocks.{depth * i // 4 - 1}" for i in (1, 2, 3, 4))

    def initialise(self) -> None:
        """Draw class token, positions and linear layers from N(0, .02^2); set biases to 0."""
        for token in (self.cls_token, self.pos_embed):
            nn.init.normal_(token, std=0.02)
        self.apply(normal_02_linear)

    def prefix_tokens(self) -> Tensor:
        """Return the tokens before those of the patches: (1, prefix, D)."""
        return self.cls_token

    def embed(self, x: Tensor) -> Tensor:
        """Compute equation 1: images (N, 3, S, S) -> tokens (N, prefix + L, D), with their positions."""
        check_size(x, self.image_size, type(self).__name__)
        return self.add_positions(self.patch_embed(x))

    def add_positions(self, patches: Tensor) -> Tensor:
        """Put the prefix tokens before the patches and add the positions: (N, L, D) -> (N, prefix + L, D)."""
        first = self.prefix_tokens().expand(patches.shape[0], -1, -1)
        return self.patch_drop(torch.cat([first, patches], 1) + self.pos_embed)

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Interpolate the positions of another image size; add a head where the weights have none.

        timm's H/14 has no head, nor has what was trained without labels (DINO, MAE).
        """
        theirs = state.get("pos_embed")
        if theirs is not None and not {"head.weight", "head.bias"} & {*state}:
            rank_zero_info("these weights have no head: head.bias, head.weight start at random")
            state = {f"head.{key}": value for key, value in self.head.state_dict().items()} | state
        if theirs is None or theirs.shape[1] == self.pos_embed.shape[1] or theirs.shape[2:] != self.pos_embed.shape[2:]:
            return state
        return state | {"pos_embed": resize_positions(theirs, self.grid, self.prefix)}


def check_keep(keep: float, model: str) -> float:
    """Return `keep`, the fraction of patches that go on.

    Raises:
        ValueError: outside (0, 1].
    """
    if not 0 < keep <= 1:
        raise ValueError(f"{model}: keep must be in (0, 1], the fraction of patches that go on, got {keep}")
    return keep
