"""RepVGG: trained with three branches a layer, then added up into a plain stack of 3x3 convolutions.

Paper:    RepVGG: Making VGG-style ConvNets Great Again (Ding, Zhang, Ma, Han, Ding, Sun; CVPR 2021)
          https://arxiv.org/abs/2101.03697, Tables 2 and 3
Code:     https://github.com/DingXiaoH/RepVGG (the authors', whose files load too); keys and functions of timm 1.0
          `repvgg_*`
Block:    y = ReLU(BN conv3x3(x) + BN conv1x1(x) + BN(x)), the last only where the shape stays. `reparameterize()` makes
          it y = ReLU(conv3x3(x)): of each branch K' = K gamma / sigma and b' = beta - mu gamma / sigma, added; the 1x1
          and the identity are 3x3 kernels that are 0 but for the centre
Shapes:   (N, 3, H, W) -stem-> (N, min(64, 64a), H/2, W/2) -4 stages-> (N, 512b, H/32, W/32) -> (N, K)
Defaults: training arguments of `Classifier`; weights as torch has them (the authors' code)
Differs:  nothing at more than 64 px. g2 and g4 have groups in every second layer; D2se has squeeze-and-excitation
          before the ReLU and images of 320 px (both the authors' code). For images of up to 64 px the stem and stage 1
          have stride 1, so that the last map is H/8. If stage 1 is as wide as the stem, its first block then has a
          BN(x) branch too. Both are ours.
"""

import copy
from collections import OrderedDict
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.frame.stages import Stages
from zoo.layers.layout import global_average
from zoo.layers.squeeze_excite import SqueezeExcite


@dataclass(frozen=True)
class Row:
    """A row of Tables 2 and 3."""

    depths: tuple[int, int, int, int]  # blocks per stage
    a: float  # multiplier of the widths 64, 128 and 256
    b: float  # multiplier of the width 512
    groups: int = 1  # in every second layer
    se: bool = False  # squeeze and excitation


A, B = (2, 4, 14, 1), (4, 6, 16, 1)  # depths
VARIANTS = {
    "A0": Row(A, 0.75, 2.5),
    "A1": Row(A, 1, 2.5),
    "A2": Row(A, 1.5, 2.75),
    "B0": Row(B, 1, 2.5),
    "B1": Row(B, 2, 4),
    "B1g2": Row(B, 2, 4, 2),
    "B1g4": Row(B, 2, 4, 4),
    "B2": Row(B, 2.5, 5),
    "B2g2": Row(B, 2.5, 5, 2),
    "B2g4": Row(B, 2.5, 5, 4),
    "B3": Row(B, 3, 5),
    "B3g2": Row(B, 3, 5, 2),
    "B3g4": Row(B, 3, 5, 4),
    "D2se": Row((8, 14, 24, 1), 2.5, 5, se=True),
}


class Branch(nn.Module):
    """A convolution and a batch norm. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, size: int, stride: int, groups: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Block(nn.Module):
    """Three branches, or after `reparameterize()` one. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    reparam_conv: nn.Conv2d | None
    identity: nn.BatchNorm2d | None

    def __init__(self, c_in: int, c_out: int, stride: int, groups: int, se: bool):
        super().__init__()
        self.identity = nn.BatchNorm2d(c_in) if stride == 1 and c_in == c_out else None
        self.conv_kxk = Branch(c_in, c_out, 3, stride, groups)
        self.conv_1x1 = Branch(c_in, c_out, 1, stride, groups)
        self.reparam_conv = None
        self.attn = SqueezeExcite(c_out, c_out // 16) if se else nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.attn(self.branches(x) if self.reparam_conv is None else self.reparam_conv(x)))

    def branches(self, x: Tensor) -> Tensor:
        y = self.conv_kxk(x) + self.conv_1x1(x)
        if self.identity is not None:
            y += self.identity(x)  # in place: saves one memory pass
        return y

    @torch.no_grad()
    def reparameterize(self) -> None:
        """Add the branches up into one convolution. A second call does nothing."""
        if self.reparam_conv is not None:
            return
        conv = self.conv_kxk.conv
        parts = [fold(conv.weight, self.conv_kxk.bn)]
        parts.append(fold(F.pad(self.conv_1x1.conv.weight, [1] * 4), self.conv_1x1.bn))
        if self.identity is not None:
            parts.append(fold(nn.init.dirac_(torch.empty_like(conv.weight), conv.groups), self.identity))
        kernels, biases = zip(*parts, strict=True)
        fused = copy.deepcopy(conv)  # its strides, groups, device and dtype
        fused.weight = nn.Parameter(torch.stack(kernels).sum(0).to(conv.weight))
        fused.bias = nn.Parameter(torch.stack(biases).sum(0).to(conv.weight))
        self.reparam_conv, self.identity = fused, None
        del self.conv_kxk, self.conv_1x1

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Add up this block first where the weights were added up before they were saved."""
        if f"{prefix}reparam_conv.weight" in state_dict:
            self.reparameterize()
        super()._load_from_state_dict(state_dict, prefix, *args)


def fold(kernel: Tensor, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return K' = K gamma / sigma (C_out, C_in/g, 3, 3) and b' = beta - mu gamma / sigma (C_out,), float64."""
    mu, variance = bn.get_buffer("running_mean").double(), bn.get_buffer("running_var").double()
    gain = bn.weight.double() / (variance + bn.eps).sqrt()
    return kernel.double() * gain[:, None, None, None], bn.bias.double() - mu * gain


def authors_keys() -> dict[str, str]:
    """Return the prefixes of keys in the authors' files -> ours."""
    blocks = {"stage0": "stem"} | {f"stage{i}.{j}": f"stages.{i - 1}.{j}" for i in (1, 2, 3, 4) for j in range(24)}
    branches = {
        "rbr_dense": "conv_kxk",
        "rbr_1x1": "conv_1x1",
        "rbr_identity": "identity",
        "rbr_reparam": "reparam_conv",
        "se.down": "attn.fc1",  # D2se
        "se.up": "attn.fc2",
    }
    inside = {f"{block}.{a}.": f"{ours}.{b}." for block, ours in blocks.items() for a, b in branches.items()}
    return inside | {"linear.": "head.fc."}


class RepVGG(Model):
    """`RepVGG("A0")` for ImageNet, `RepVGG("A0", num_classes=10, image_size=32)` for CIFAR.

    `model.reparameterize()` after training: a plain, faster network with the same logits.
    """

    variants = VARIANTS
    block_path = "stages.0.1"
    aliases = authors_keys()
    timm_names = {v: f"repvgg_{v.lower()}" for v in VARIANTS if not v.endswith("g2")}

    def __init__(
        self,
        variant: str | int = "A0",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        first = 1 if self.small else 2  # stride of the stem and of stage 1
        widths = (min(64, int(64 * row.a)), int(64 * row.a), int(128 * row.a), int(256 * row.a), int(512 * row.b))
        self.stem = Block(3, widths[0], first, groups=1, se=row.se)
        layers = accumulate(row.depths, initial=1)  # number of each stage's first layer; the stem is layer 0
        shapes = zip(widths, widths[1:], row.depths, (first, 2, 2, 2), layers, strict=False)
        self.stages = Stages(stage(c_in, c, depth, stride, i, row) for c_in, c, depth, stride, i in shapes)
        self.head = nn.Sequential(OrderedDict(fc=nn.Linear(widths[-1], num_classes)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages.values():
            x = stage(x)
        return self.head(global_average(x))

    @classmethod
    def size_for(cls, variant: str) -> int:
        """Return 224; 320 for D2se."""
        return 320 if VARIANTS[variant].se else 224

    def reparameterize(self) -> "RepVGG":
        """Add up the branches of every block, in place, for inference. The logits in eval mode stay as they are.

        Returns:
            The model itself. It cannot go back. A model with branches that loads its weights is added up too.
        """
        for block in (m for m in self.modules() if isinstance(m, Block)):
            block.reparameterize()
        return self

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add up this network first where the weights were added up before they were saved."""
        if any("reparam_conv." in key for key in state):
            self.reparameterize()
        return state


def stage(c_in: int, c: int, depth: int, stride: int, layer: int, row: Row) -> nn.Sequential:
    """Return the blocks of a stage: (N, C_in, H, W) -> (N, c, H/s, W/s).

    Args:
        c_in, c, depth, stride: C_in, c, number of blocks, s of the first one.
        layer: number of the first block in the network, whose stem is 0; odd ones have no groups.
        row: has groups and squeeze and excitation.
    """
    blocks = []
    for i in range(depth):
        groups = row.groups if (layer + i) % 2 == 0 else 1
        blocks.append(Block(c if i else c_in, c, 1 if i else stride, groups, row.se))
    return nn.Sequential(*blocks)
