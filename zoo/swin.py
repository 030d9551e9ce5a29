"""Swin: attention within windows, which shift from block to block, on maps that shrink from stage to stage.

Paper:    Swin Transformer: Hierarchical Vision Transformer using Shifted Windows (Liu, Lin, Cao, Hu, Wei, Zhang, Lin,
          Guo; ICCV 2021) https://arxiv.org/abs/2103.14030, section 3 (T to L), equations 3 and 4
Code:     https://github.com/microsoft/Swin-Transformer at f82860b (the authors', whose files load too); keys and
          function of timm 1.0 `swin_*_patch4_window*`
Block:    z' = z + W-MSA(LN(z)),  z = z' + MLP(LN(z')),   W-MSA: softmax(Q K^T / sqrt(d) + B + mask) V in every window
          of M x M; B one number a head for each step (dy, dx) in it. Every second block first rolls the map by M/2 up
          and left; the mask (-100) keeps apart what was not together before
Shapes:   (N, 3, S, S) -patches of P px, LN-> (N, S/P, S/P, C) -stage 1-> same -3 times: 2 x 2 cells side by side, LN,
          4C -> 2C, blocks-> (N, S/8P, S/8P, 8C) -LN, mean-> (N, 8C) -> (N, K); a stage gives (N, C, H, W)
Defaults: drop_path .2 T, .3 S, .5 B, .2 L (the authors' configurations; L's is that of ImageNet-22K); M = S/32: 7 at
          224 px, 12 at 384; weights and B N(0, .02), biases 0, LN's epsilon 1e-5 (the authors' code)
Differs:  at more than 64 px nothing for 224 and 384; M = S/32 at other sizes is ours: the last map is one window. Up
          to 64 px, P is a sixteenth of the image (CIFAR: 2 px, Tiny-ImageNet: 4) and M = 4, so maps have 16, 8, 4 and
          2 cells a side and only those of the first two stages shift: not in the paper.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.basic import DropPath, linear_rates
from zoo.vit import MLP, Attention, init_weights

#        width C of stage 1, blocks and heads of each stage, drop_path: section 3.3; the authors' configurations
VARIANTS = {
    "T": (96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2),
    "S": (96, (2, 2, 18, 2), (3, 6, 12, 24), 0.3),
    "B": (128, (2, 2, 18, 2), (4, 8, 16, 32), 0.5),
    "L": (192, (2, 2, 18, 2), (6, 12, 24, 48), 0.2),
}


def windows(x: Tensor, m: int) -> Tensor:
    """Cuts maps (N, H, W, C) into windows of m x m, row by row: (N * HW / m^2, m^2, C)."""
    n, h, w, c = x.shape
    return x.view(n, h // m, m, w // m, m, c).transpose(2, 3).reshape(-1, m * m, c)


def joined(x: Tensor, m: int, side: int) -> Tensor:
    """The inverse of `windows`: (N * (side / m)^2, m^2, C) -> (N, side, side, C)."""
    cut = x.view(-1, side // m, side // m, m, m, x.shape[-1])
    return cut.transpose(2, 3).reshape(-1, side, side, x.shape[-1])


def relative_index(m: int) -> Tensor:
    """Row of the table for each pair of cells of a window, (dy + m - 1)(2m - 1) + (dx + m - 1): (m^2, m^2)."""
    y, x = torch.arange(m).repeat_interleave(m), torch.arange(m).repeat(m)
    dy, dx = y[:, None] - y, x[:, None] - x
    return (dy + m - 1) * (2 * m - 1) + dx + m - 1


def shift_mask(side: int, m: int, shift: int) -> Tensor:
    """What a rolled map adds to the scores: -100 between cells that were not together before, (nW, 1, m^2, m^2)."""
    cells = torch.arange(side)
    band = (cells >= side - m).long() + (cells >= side - shift).long()  # three bands a side: nine regions
    region = windows((3 * band[:, None] + band)[None, :, :, None], m)
    return -100.0 * (region != region.transpose(1, 2)).float()[:, None]


class WindowAttention(Attention):
    """Attention with a bias for every step in a window. Shapes: (N nW, m^2, C) -> (N nW, m^2, C)."""

    def __init__(self, width: int, heads: int, m: int):
        super().__init__(width, heads)
        self.fused = False  # with a bias the kernel is no faster on a CPU, and ONNX cannot follow it
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * m - 1) ** 2, heads))
        self.register_buffer("index", relative_index(m), persistent=False)
        nn.init.normal_(self.relative_position_bias_table, std=0.02)

    def bias(self) -> Tensor:
        """B of every head: (H, m^2, m^2)."""
        return self.relative_position_bias_table[self.index].permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask`: (nW, 1, m^2, m^2), for each window of an image, or nothing."""
        bias = self.bias()[None]
        return super().forward(x, bias if mask is None else (bias + mask).repeat(x.shape[0] // mask.shape[0], 1, 1, 1))


class Block(nn.Module):
    """Attention in windows, then an MLP on each cell. Shapes: (N, side, side, C) -> (N, side, side, C)."""

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
        """W-MSA, or SW-MSA: rolled there and back."""
        side, s = x.shape[1], self.shift
        x = torch.roll(x, (-s, -s), (1, 2)) if s else x
        x = joined(self.attn(windows(x, self.window), self.mask), self.window, side)
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
    """Cells (0, 0), (1, 0), (0, 1), (1, 1) of each 2 x 2 on the channels: (N, H, W, C) -> (N, H/2, W/2, 4C)."""
    n, h, w, c = x.shape
    return x.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)


class Stage(nn.Module):
    """Merging, but for the first stage, then blocks. Shapes: (N, C, H, W) -> (N, 2C, H/2, W/2).

    Maps go in and out as every stage's do; in between, channels are last. Both are views: nothing is copied.
    """

    def __init__(self, width: int, heads: int, side: int, window: int, rates: list[float], first: bool):
        super().__init__()
        self.downsample = nn.Identity() if first else PatchMerging(width // 2)
        blocks = (Block(width, heads, side, window, i % 2 == 1, rate) for i, rate in enumerate(rates))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x.permute(0, 2, 3, 1).contiguous())).permute(0, 3, 1, 2)


class Patches(nn.Module):
    """Cuts the image into patches and embeds each. Shapes: (N, 3, S, S) -> (N, C, S/P, S/P)."""

    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Swin(Classifier):
    """`Swin("T")` for ImageNet, `Swin("T", num_classes=10, image_size=32)` for CIFAR-10, `Swin("B", image_size=384)`.

    Args:
        variant: a key of `VARIANTS`: "T" "S" "B" "L".
        num_classes: K.
        image_size: side of the images in pixels: a multiple of 32; up to 64, of 16. None: 224.
        weights: see `Classifier.load_weights`; the tables of other windows are interpolated. None: random.
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first
            block. None: the paper's for the variant.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or an image size that windows do not fill.
    """

    timm_names = {
        "T": "swin_tiny_patch4_window7_224",
        "S": "swin_small_patch4_window7_224",
        "B": ("swin_base_patch4_window7_224", "swin_base_patch4_window12_384"),
        "L": ("swin_large_patch4_window7_224", "swin_large_patch4_window12_384"),
    }
    aliases = {"head.weight": "head.fc.weight", "head.bias": "head.fc.bias"}

    def __init__(
        self,
        variant: str = "T",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float | None = None,
        **training,
    ):
        width, depths, heads, usual_drop_path = VARIANTS[validate_choice(variant, VARIANTS, "Swin")]
        image_size = image_size or 224
        patch, window = geometry(image_size)
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        self.patch_embed = Patches(patch, width)
        rates = linear_rates(usual_drop_path if drop_path is None else drop_path, depths)
        sizes = [(width * 2**i, heads[i], image_size // patch // 2**i) for i in range(4)]
        self.layers = nn.Sequential(*(Stage(*sizes[i], window, rates[i], first=i == 0) for i in range(4)))
        self.norm = nn.LayerNorm(8 * width)
        self.head = nn.Sequential(OrderedDict(fc=nn.Linear(8 * width, num_classes)))
        self.stage_paths = {f"stage{i + 1}": f"layers.{i}" for i in range(4)}
        self.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"this Swin has windows for images of {self.image_size} x {self.image_size} px, got {x.shape[-2]} x "
                f"{x.shape[-1]}: make it with image_size={x.shape[-1]}; weights are interpolated"
            )
        x = self.layers(self.patch_embed(x))  # (N, 8C, S/8P, S/8P)
        return self.head(self.norm(x.permute(0, 2, 3, 1)).mean((1, 2)))

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' keys as timm's, and the tables of other windows at this one's size."""
        if "layers.0.downsample.reduction.weight" in state:
            state = dict(timms_key(item) for item in state.items() if not item[0].endswith(BUFFERS))
        tables = {k: v for k, v in self.state_dict().items() if k.endswith("bias_table") and k in state}
        return state | {key: resize_table(state[key], len(table)) for key, table in tables.items()}


BUFFERS = ("attn_mask", "relative_position_index")  # in the authors' files, not in timm's


def timms_key(item: tuple[str, Tensor]) -> tuple[str, Tensor]:
    """Merging ends a stage in the authors' files (`layers.0.downsample`), and begins the next one in timm's."""
    parts = item[0].split(".")
    if "downsample" in parts:
        parts[1] = str(int(parts[1]) + 1)
    return ".".join(parts), item[1]


def resize_table(table: Tensor, rows: int) -> Tensor:
    """Biases of another window, bicubic as in the authors' code: (a^2, H) -> (rows, H), both of them squares."""
    if len(table) == rows:
        return table
    a, b = round(len(table) ** 0.5), round(rows**0.5)
    grid = table.float().T.reshape(1, -1, a, a)
    return F.interpolate(grid, (b, b), mode="bicubic").flatten(2)[0].T.to(table.dtype)


def geometry(image_size: int) -> tuple[int, int]:
    """Patch in pixels and window in cells. Raises ValueError where windows do not fill the maps."""
    unit = 16 if image_size <= SMALL else 32
    if image_size % unit:
        raise ValueError(f"image_size={image_size} is no multiple of Swin's {unit} px: change it")
    return (image_size // 16, 4) if image_size <= SMALL else (4, image_size // 32)
