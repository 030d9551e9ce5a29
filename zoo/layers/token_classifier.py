"""A classifier of patches: what ViT, DeiT, LV-ViT, DynamicViT, EViT, patch slimming and MoE-ViT have in common.

Paper:    An Image is Worth 16x16 Words (Dosovitskiy et al.; ICLR 2021) https://arxiv.org/abs/2010.11929, equation 1
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from zoo.frame.classifier import Classifier
from zoo.layers.init import normal_02_linear
from zoo.layers.patch_embed import PatchEmbed, resize_positions


class TokenRow(NamedTuple):
    """A row of the paper's table of transformers."""

    width: int  # D, of the tokens
    depth: int  # number of blocks
    heads: int  # H, of each attention
    patch: int = 16  # P, side of a patch in pixels


class TokenClassifier(Classifier):
    """Patch embedding, class token, positions, blocks, norm and head. A model adds its blocks and its `forward`.

    Attributes:
        prefix: number of tokens before those of the patches.
        grid: patches a side, S/P.
        patch_drop: an identity on the tokens, where tricks may remove some (PatchDropout).
    """

    prefix = 1
    image_size: int

    def add_layers(
        self, blocks: Iterable[nn.Module], width: int, patch: int, stem: nn.Module | None = None, eps: float = 1e-6
    ) -> None:
        """Create the layers, and name the four quarters of the blocks as stages.

        Args:
            blocks: (N, L, D) -> (N, L, D), in order.
            width: D.
            patch: P in pixels.
            stem: (N, 3, S, S) -> (N, (S/P)^2, D). None: `PatchEmbed`.
            eps: epsilon of the last layer norm.
        """
        self.grid = self.image_size // patch
        self.patch_embed = PatchEmbed(patch, width) if stem is None else stem
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.prefix + self.grid**2, width))
        self.patch_drop = nn.Identity()
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.head = nn.Linear(width, self.num_classes)
        depth = len(self.blocks)
        self.stage_paths = {f"stage{i}": f"blocks.{depth * i // 4 - 1}" for i in (1, 2, 3, 4)}

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
        self.check_size(x)
        return self.add_positions(self.patch_embed(x))

    def add_positions(self, patches: Tensor) -> Tensor:
        """Put the prefix tokens before the patches and add the positions: (N, L, D) -> (N, prefix + L, D)."""
        first = self.prefix_tokens().expand(patches.shape[0], -1, -1)
        return self.patch_drop(torch.cat([first, patches], 1) + self.pos_embed)

    def check_size(self, x: Tensor) -> None:
        """Refuse images of another size than the positions are for, with ValueError."""
        check_size(x, self.image_size, type(self).__name__)

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Interpolate the positions of another image size; add a head where the weights have none.

        timm's H/14 has no head, nor has what was trained without labels (DINO, MAE).
        """
        theirs = state.get("pos_embed")
        if theirs is not None and not {"head.weight", "head.bias"} & {*state}:
            rank_zero_info("these weights have no head: head.bias, head.weight keep their random start")
            state = {f"head.{key}": value for key, value in self.head.state_dict().items()} | state
        if theirs is None or theirs.shape[1] == self.pos_embed.shape[1] or theirs.shape[2:] != self.pos_embed.shape[2:]:
            return state
        return state | {"pos_embed": resize_positions(theirs, self.grid, self.prefix)}


def check_size(x: Tensor, image_size: int, model: str) -> None:
    """Refuse images of another size than the positions are for.

    Raises:
        ValueError: says which `image_size` to take.
    """
    if x.shape[-2:] != (image_size, image_size):
        raise ValueError(
            f"{model} has positions for images of {image_size} x {image_size} px, got {x.shape[-2]} x {x.shape[-1]}: "
            f"create it with image_size={x.shape[-1]}; weights are interpolated"
        )


def check_keep(keep: float, model: str) -> float:
    """Return `keep`, the fraction of patches that go on.

    Raises:
        ValueError: outside (0, 1].
    """
    if not 0 < keep <= 1:
        raise ValueError(f"{model}: keep must be in (0, 1], the fraction of patches that go on, got {keep}")
    return keep
