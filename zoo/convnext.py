"""ConvNeXt: a ResNet modernised step by step until it is as good as a Swin transformer.

Paper:    A ConvNet for the 2020s (Liu, Mao, Wu, Feichtenhofer, Darrell, Xie; CVPR 2022)
          https://arxiv.org/abs/2201.03545, section 3 (T to XL), section 3.3 (isotropic); every step on the way there is
          in `convnext_roadmap.py`
Code:     https://github.com/facebookresearch/ConvNeXt (the authors', whose files load too); keys and functions of timm
          1.0 `convnext_*`
Block:    y = x + DropPath(g * W2 GELU(W1 LN(dwconv7x7(x)))),   W1: C -> 4C,  W2: 4C -> C,  g in R^C
Shapes:   (N, 3, H, W) -stem-> (N, C1, H/4, W/4) -3 times LN, conv 2x2 of stride 2-> (N, C4, H/32, W/32) -> (N, K);
          isotropic: (N, 3, H, W) -stem-> (N, C, H/16, W/16) -> (N, K)
Defaults: drop_path .1 T, .4 S, .5 B and L (Table 5, ImageNet-1K), .2 XL (Table 5, ImageNet-22K), isotropic .1, .2, .5
          (the authors' TRAINING.md); g starts at 1e-6; weights N(0, .02), biases 0 (the authors' code; the
          paper's Table 5 prints .2). AdamW, lr 2.5e-4 for 256 images (Table 5: 4e-3 for 4096), weight decay .05
Differs:  nothing at more than 64 px. Patches of up to 64 px images are half as wide (2, isotropic 8), of up to 32 px a
          quarter (1, isotropic 4): ours, not the paper's. Isotropic rows have the keys of the others, and their
          blocks stand in three equal stages, for what looks at stages; g is in L-iso only, as in the authors' code.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import ADAMW, Training
from zoo.frame.checks import SMALL
from zoo.frame.model import Model
from zoo.frame.stages import Stages
from zoo.layers.drop_path import DropPath, linear_rates
from zoo.layers.layer_norm_2d import LayerNorm2d
from zoo.layers.layout import global_average


@dataclass(frozen=True)
class Row:
    """One row of the paper's sections 3 and 3.3."""

    depths: tuple[int, ...]  # blocks per stage
    widths: tuple[int, ...]  # channels per stage
    drop_path: float  # probability that an example skips the last block
    patch: int = 4  # side of the stem's patches, in pixels
    scale: float | None = 1e-6  # where every g starts; None: no g


VARIANTS = {
    "T": Row((3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    "S": Row((3, 3, 27, 3), (96, 192, 384, 768), 0.4),
    "B": Row((3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
    "L": Row((3, 3, 27, 3), (192, 384, 768, 1536), 0.5),
    "XL": Row((3, 3, 27, 3), (256, 512, 1024, 2048), 0.2),
    "S-iso": Row((6, 6, 6), (384, 384, 384), 0.1, patch=16, scale=None),
    "B-iso": Row((6, 6, 6), (768, 768, 768), 0.2, patch=16, scale=None),
    "L-iso": Row((12, 12, 12), (1024, 1024, 1024), 0.5, patch=16),
}


class Block(nn.Module):
    """A depthwise convolution for space, a two-layer MLP for channels. Shapes: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, c: int, drop_path: float, scale: float | None):
        super().__init__()
        self.conv_dw = nn.Conv2d(c, c, kernel_size=7, padding=3, groups=c)
        self.norm = nn.LayerNorm(c, eps=1e-6)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(c, 4 * c), act=nn.GELU(), fc2=nn.Linear(4 * c, c)))
        self.gamma = None if scale is None else nn.Parameter(torch.full((c,), scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_dw(x).permute(0, 2, 3, 1)  # (N, H, W, C): a linear layer is faster than a 1x1 convolution
        y = self.mlp(self.norm(y))
        y = y if self.gamma is None else y * self.gamma
        return x + self.drop_path(y.permute(0, 3, 1, 2))


class Stage(nn.Module):
    """Downsampling where channels change, then blocks. Shapes: (N, C_in, H, W) -> (N, C, H/2, W/2)."""

    def __init__(self, c_in: int, c: int, rates: list[float], scale: float | None):
        super().__init__()
        down = (LayerNorm2d(c_in, eps=1e-6), nn.Conv2d(c_in, c, kernel_size=2, stride=2))
        self.downsample = nn.Identity() if c_in == c else nn.Sequential(*down)
        self.blocks = nn.Sequential(*(Block(c, rate, scale) for rate in rates))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


def authors_keys(depths: tuple[int, ...]) -> dict[str, str]:
    """Return the prefixes of keys in the authors' files -> ours."""
    ours = [(i, j) for i, depth in enumerate(depths) for j in range(depth)]
    blocks = {f"stages.{i}.{j}": f"stages.{i}.blocks.{j}" for i, j in ours}
    blocks |= {f"blocks.{n}": f"stages.{i}.blocks.{j}" for n, (i, j) in enumerate(ours)}  # isotropic: one row of blocks
    layers = {"dwconv": "conv_dw", "norm": "norm", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2", "gamma": "gamma"}
    inside = {f"{block}.{a}": f"{mine}.{b}" for block, mine in blocks.items() for a, b in layers.items()}
    ends = {"norm.": "head.norm.", "head.weight": "head.fc.weight", "head.bias": "head.fc.bias"}
    stems = {"downsample_layers.0.": "stem.", "stem.weight": "stem.0.weight", "stem.bias": "stem.0.bias"}
    return inside | ends | stems | {f"downsample_layers.{i}.": f"stages.{i}.downsample." for i in (1, 2, 3)}


class ConvNeXt(Model):
    """`ConvNeXt("T")` for ImageNet, `ConvNeXt("T", num_classes=10, image_size=32)` for CIFAR-10.

    Args:
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first
            block. None: the paper's for the variant.
    """

    variants = VARIANTS
    block_path = "stages.0.blocks.1"
    training_defaults = ADAMW
    timm_names = {
        "T": "convnext_tiny",
        "S": "convnext_small",
        "B": "convnext_base",
        "L": "convnext_large",
        "XL": "convnext_xlarge",
    }

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
        patch, isotropic = patch_for(self.image_size, row.patch), len({*row.widths}) == 1
        self.needs_at_least(patch if isotropic else 8 * patch)
        self.aliases = authors_keys(row.depths)
        first, last = row.widths[0], row.widths[-1]
        stem = nn.Conv2d(3, first, kernel_size=patch, stride=patch)
        self.stem = nn.Sequential(stem) if isotropic else nn.Sequential(stem, LayerNorm2d(first, eps=1e-6))
        rates = linear_rates(row.drop_path if drop_path is None else drop_path, row.depths)
        widths = zip((first, *row.widths), row.widths, rates, strict=False)
        self.stages = Stages(Stage(c_in, c, stage_rates, row.scale) for c_in, c, stage_rates in widths)
        norm, fc = nn.LayerNorm(last, eps=1e-6), nn.Linear(last, num_classes)
        self.head = nn.Sequential(OrderedDict(norm=norm, fc=fc))
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages.values():  # (N, C1, H/4, W/4) to (N, C4, H/32, W/32)
            x = stage(x)
        return self.head(global_average(x))


def patch_for(image_size: int, patch: int) -> int:
    """Return the paper's patch, half of it at up to 64 px, a quarter at up to 32 px."""
    return patch if image_size > SMALL else patch // 2 if image_size > SMALL // 2 else patch // 4


def init_weights(module: nn.Module) -> None:
    """Draw convolutions and linear layers from N(0, .02), biases 0; norms start at 1 and 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
