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
Differs:  nothing at more than 64 px. g2 and g4 have groups in every second layer (the authors' code), D2se (theirs too)
          squeeze-and-excitation before the ReLU and images of 320 px. For images of up to 64 px the stem and the first
          stage have stride 1, so that the last map is H/8; a BN(x) branch comes with it where the stem is as wide as
          that stage: ours, not the paper's.
"""

import copy
from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.frame.stages import Stages
from zoo.layers.conv_bn import conv_bn
from zoo.layers.squeeze_excite import SqueezeExcite


class Row(NamedTuple):
    """A row of Tables 2 and 3."""

    depths: tuple[int, int, int, int]  # blocks of each stage
    a: float  # multiplier of the widths 64, 128 and 256
    b: float  # multiplier of the width 512
    groups: int = 1  # in every second layer


A, B = (2, 4, 14, 1), (4, 6, 16, 1)
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
    "D2se": Row((8, 14, 24, 1), 2.5, 5),
}


class Block(nn.Module):
    """Three branches, or after `reparameterize()` one. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c_out: int, stride: int, groups: int, se: bool):
        super().__init__()
        self.identity = nn.BatchNorm2d(c_in) if stride == 1 and c_in == c_out else None
        self.conv_kxk = conv_bn(c_in, c_out, 3, stride, groups, relu=False)
        self.conv_1x1 = conv_bn(c_in, c_out, 1, stride, groups, relu=False)
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
        parts = [
            scaled(conv.weight, self.conv_kxk.bn),
            scaled(F.pad(self.conv_1x1.conv.weight, [1] * 4), self.conv_1x1.bn),
        ]
        if self.identity is not None:
            parts.append(scaled(nn.init.dirac_(torch.empty_like(conv.weight), conv.groups), self.identity))
        kernel, bias = (sum(part).to(conv.weight) for part in zip(*parts, strict=True))
        fused = copy.deepcopy(conv)  # its strides, groups, device and kind of number
        fused.weight, fused.bias = nn.Parameter(kernel), nn.Parameter(bias)
        self.reparam_conv = fused
        self.conv_kxk = self.conv_1x1 = self.identity = None

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Weights that were added up before they were saved add up this block first."""
        if f"{prefix}reparam_conv.weight" in state_dict:
            self.reparameterize()
        super()._load_from_state_dict(state_dict, prefix, *args)


def scaled(kernel: Tensor, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel (C_out, C_in/g, 3, 3) and bias (C_out) that do what the kernel and then the norm do, in float64."""
    gain = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    return kernel.double() * gain[:, None, None, None], bn.bias.double() - bn.running_mean.double() * gain


def authors_keys() -> dict[str, str]:
    """Prefixes of keys in the authors' files -> ours."""
    blocks = {"stage0": "stem"} | {f"stage{i}.{j}": f"stages.{i - 1}.{j}" for i in (1, 2, 3, 4) for j in range(24)}
    branches = {
        "rbr_dense": "conv_kxk",
        "rbr_1x1": "conv_1x1",
        "rbr_identity": "identity",
        "rbr_reparam": "reparam_conv",
    }
    inside = {f"{block}.{a}.": f"{ours}.{b}." for block, ours in blocks.items() for a, b in branches.items()}
    return inside | {"linear.": "head.fc."}


class RepVGG(Classifier):
    """`RepVGG("A0")` for ImageNet, `RepVGG("A0", num_classes=10, image_size=32)` for CIFAR.

    `model.reparameterize()` after training: a plain, faster network with the same logits.

    Args:
        variant: a key of `VARIANTS`: "A0" "A1" "A2" "B0" "B1" "B2" "B3", "B1g2" ... "B3g4", "D2se".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image form. None: 224, D2se 320.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are).
    """

    in_chans = 3  # once fused, the first convolution that is found is a squeeze-and-excitation
    aliases = authors_keys()
    timm_names = {v: f"repvgg_{v.lower()}" for v in VARIANTS if not v.endswith("g2")}

    def __init__(
        self,
        variant: str = "A0",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        row = VARIANTS[validate_choice(variant, VARIANTS, "RepVGG")]
        se = variant.endswith("se")
        image_size = image_size or (320 if se else 224)
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        small = image_size <= SMALL
        c_in, layer = min(64, int(64 * row.a)), 0
        self.stem = Block(3, c_in, stride=1 if small else 2, groups=1, se=se)
        stages: list[nn.Module] = []
        for i, depth in enumerate(row.depths):
            c, blocks = int(64 * 2**i * (row.b if i == 3 else row.a)), []
            for j in range(depth):
                layer += 1
                stride = 2 if j == 0 and not (small and i == 0) else 1
                blocks.append(Block(c_in, c, stride, row.groups if layer % 2 == 0 else 1, se))
                c_in = c
            stages.append(nn.Sequential(*blocks))
        self.stages = Stages(stages)
        self.head = nn.Sequential(OrderedDict(fc=nn.Linear(c_in, num_classes)))
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages.values():
            x = stage(x)
        return self.head(x.mean((2, 3)))

    def reparameterize(self) -> "RepVGG":
        """Add up the branches of every block, in place, for inference. The logits in eval mode stay as they are.

        Returns:
            The model itself. It cannot go back. A model with branches that loads its weights is added up too.
        """
        for block in (m for m in self.modules() if isinstance(m, Block)):
            block.reparameterize()
        return self

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights that were added up before they were saved add up this network first."""
        if any("reparam_conv." in key for key in state):
            self.reparameterize()
        return state
