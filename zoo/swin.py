"""Swin: attention within windows, which shift from block to block, on maps that shrink from stage to stage.

Paper:    Swin Transformer: Hierarchical Vision Transformer using Shifted Windows (Liu, Lin, Cao, Hu, Wei, Zhang, Lin,
          Guo; ICCV 2021) https://arxiv.org/abs/2103.14030, section 3 (T to L), equations 3 and 4
Code:     https://github.com/microsoft/Swin-Transformer at f82860b (the authors', whose files load too); keys and
          function of timm 1.0 `swin_*_patch4_window*`
Block:    z' = z + W-MSA(LN(z)),  z = z' + MLP(LN(z')),   W-MSA: softmax(Q K^T / sqrt(d) + B + mask) V in every window
          of M x M cells; B: one number a head for each offset (dy, dx) in a window. Every second block first rolls the
          map by M/2 up and left; the mask (-100) separates cells that were not neighbours before
Shapes:   (N, 3, S, S) -patches of P px, LN-> (N, S/P, S/P, C) -stage 1-> same -3 times: 2 x 2 cells side by side, LN,
          4C -> 2C, blocks-> (N, S/8P, S/8P, 8C) -LN, mean-> (N, 8C) -> (N, K); a stage gives (N, C, H, W)
Defaults: drop_path .2 T, .3 S, .5 B, .2 L (the authors' configurations; L's is that of ImageNet-22K); M = S/32: 7 at
          224 px, 12 at 384; weights and B N(0, .02), biases 0, LN's epsilon 1e-5 (the authors' code).
          AdamW, lr 2.5e-4 for 256 images (theirs 5e-4 for 512), weight decay .05
Differs:  nothing at 224 and 384 px. M = S/32 at other sizes is ours: the last map is one window. Up to 64 px, P is a
          sixteenth of the image (CIFAR: 2 px, Tiny-ImageNet: 4) and M = 4, so that maps have 16, 8, 4 and 2 cells a
          side and only the first two stages shift: ours.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.arguments import ADAMW, Training
from zoo.frame.checks import SMALL
from zoo.frame.model import Model
from zoo.layers.drop_path import DropPath, linear_rates
from zoo.layers.init import normal_02_linear
from zoo.layers.patch_embed import check_size
from zoo.layers.transformer import MLP
from zoo.layers.window_attention import WindowAttention, shift_mask, window_partition, window_reverse


@dataclass(frozen=True)
class Row:
    """A row of the paper's table, section 3.3."""

    width: int  # C of stage 1, doubled in each later stage
    depths: tuple[int, int, int, int]  # blocks per stage
    heads: tuple[int, int, int, int]  # per stage
    drop_path: float  # probability of the last block: the authors' configurations


VARIANTS = {
    "T": Row(96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2),
    "S": Row(96, (2, 2, 18, 2), (3, 6, 12, 24), 0.3),
    "B": Row(128, (2, 2, 18, 2), (4, 8, 16, 32), 0.5),
    "L": Row(192, (2, 2, 18, 2), (6, 12, 24, 48), 0.2),
}


class Block(nn.Module):
    """Attention in windows, then an MLP on each cell. Shapes: (N, side, side, C) -> (N, side, side, C).

    Attributes:
        mask: added to the scores of a shifted block. None: the block does not shift.
    """

    mask: Tensor | None

    def __init__(self, width: int, heads: int, side: int, window: int, shifted: bool, drop_path: float):
        super().__init__()
        self.window = min(window, side)
        self.shift = self.window // 2 if shifted and side > window else 0
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, self.window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, 4 * width)
        self.drop_path = DropPath(drop_path)
        mask = shift_mask(side, self.window, self.shift) if self.shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def attend(self, x: Tensor) -> Tensor:
        """Compute W-MSA; in a shifted block SW-MSA, which rolls the map before and back after."""
        side, s = x.shape[1], self.shift
        x = torch.roll(x, (-s, -s), (1, 2)) if s else x
        x = window_reverse(self.attn(window_partition(x, self.window), self.mask), self.window, side)
        return torch.roll(x, (s, s), (1, 2)) if s else x


class PatchMerging(nn.Module):
    """Four neighbours become one cell of twice the width. Shapes: (N, H, W, C) -> (N, H/2, W/2, 2C)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(neighbours(x)))


def neighbours(x: Tensor) -> Tensor:
    """Stack the cells (0, 0), (1, 0), (0, 1), (1, 1) of each 2 x 2: (N, H, W, C) -> (N, H/2, W/2, 4C)."""
    n, h, w, c = x.shape
    return x.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)


class Stage(nn.Module):
    """Merging (not in the first stage), then blocks. Shapes: (N, C, H, W) -> (N, 2C, H/2, W/2).

    Maps enter and leave with channels first, as in every model's stages; inside, channels are last.
    """

    def __init__(self, width: int, heads: int, side: int, window: int, rates: list[float], first: bool):
        super().__init__()
        self.downsample = nn.Identity() if first else PatchMerging(width // 2)
        blocks = (Block(width, heads, side, window, i % 2 == 1, rate) for i, rate in enumerate(rates))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x.permute(0, 2, 3, 1).contiguous())).permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """Cut the image into patches of P x P px, embed and normalise each. Shapes: (N, 3, S, S) -> (N, C, S/P, S/P)."""

    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Swin(Model):
    """`Swin("T")` for ImageNet, `Swin("T", num_classes=10, image_size=32)` for CIFAR-10, `Swin("B", image_size=384)`.

    Args:
        image_size: side of the images in pixels: a multiple of 32; up to 64, of 16. None: 224.
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first
            block. None: the paper's for the variant.

    Raises:
        ValueError: an image size that windows do not fill.
    """

    variants = VARIANTS
    training_defaults = ADAMW
    stage_paths = ("layers.0", "layers.1", "layers.2", "layers.3")
    block_path = "layers.0.blocks.1"
    timm_names = {
        "T": "swin_tiny_patch4_window7_224",
        "S": "swin_small_patch4_window7_224",
        "B": ("swin_base_patch4_window7_224", "swin_base_patch4_window12_384"),
        "L": ("swin_large_patch4_window7_224", "swin_large_patch4_window12_384"),
    }
    aliases = {"head.weight": "head.fc.weight", "head.bias": "head.fc.bias"}

    def __init__(
        self,
        variant: str | int = "T",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        patch, window = geometry(self.image_size)
        self.patch_embed = PatchEmbed(patch, row.width)
        rates = linear_rates(row.drop_path if drop_path is None else drop_path, row.depths)
        self.layers = nn.Sequential()
        for i, heads in enumerate(row.heads):
            side = self.image_size // patch // 2**i  # cells a side of the stage's maps
            self.layers.append(Stage(row.width * 2**i, heads, side, window, rates[i], first=i == 0))
        self.norm = nn.LayerNorm(8 * row.width)
        self.head = nn.Sequential(OrderedDict(fc=nn.Linear(8 * row.width, num_classes)))
        self.apply(normal_02_linear)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.image_size, "Swin", "windows")
        x = self.layers(self.patch_embed(x))  # (N, 8C, S/8P, S/8P)
        return self.head(self.norm(x.permute(0, 2, 3, 1)).mean((1, 2)))

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename the authors' keys to timm's, and interpolate the bias tables of windows of another size."""
        if "layers.0.downsample.reduction.weight" in state:
            state = {timm_key(key): x for key, x in state.items() if not key.endswith(BUFFERS)}
        tables = {k: v for k, v in self.state_dict().items() if k.endswith("bias_table") and k in state}
        return state | {key: resize_table(state[key], len(table)) for key, table in tables.items()}


BUFFERS = ("attn_mask", "relative_position_index")  # in the authors' files, not in timm's


def timm_key(key: str) -> str:
    """Return timm's key for one of the authors', where merging ends a stage; here it begins the next one."""
    parts = key.split(".")
    if "downsample" in parts:
        parts[1] = str(int(parts[1]) + 1)
    return ".".join(parts)


def resize_table(table: Tensor, rows: int) -> Tensor:
    """Interpolate the biases of another window, bicubic as in the authors' code: (a^2, H) -> (rows = b^2, H)."""
    if len(table) == rows:
        return table
    a, b = round(len(table) ** 0.5), round(rows**0.5)
    grid = table.float().T.reshape(1, -1, a, a)
    return F.interpolate(grid, (b, b), mode="bicubic").flatten(2)[0].T.to(table.dtype)


def geometry(image_size: int) -> tuple[int, int]:
    """Return the side of a patch in pixels and of a window in cells.

    Raises:
        ValueError: if windows do not fill the maps.
    """
    unit = 16 if image_size <= SMALL else 32
    if image_size % unit:
        raise ValueError(f"Swin needs an image_size that is a multiple of {unit} px, got {image_size}")
    return (image_size // 16, 4) if image_size <= SMALL else (4, image_size // 32)
