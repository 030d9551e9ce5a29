"""ConvNeXtRoadmap: every step of the way from ResNet-50 to ConvNeXt-T, and from ResNet-200 to ConvNeXt-B.

Paper:    A ConvNet for the 2020s (Liu, Mao, Wu, Feichtenhofer, Darrell, Xie; CVPR 2022)
          https://arxiv.org/abs/2201.03545, section 2 and Figure 2
Code:     none: the authors published the end of the road (`convnext.py`), not its steps
Block:    y = act(F(x) + shortcut(x)),  F up to "width": 1x1 (c), 3x3 (c), 1x1 (4c);  "inverted": 1x1 (4c), depthwise
          3x3, 1x1 (c);  from "moved-up": depthwise (c_in), 1x1 (4c), 1x1 (c). The 3x3 or depthwise convolution has the
          stride; a shortcut that changes shape is a 1x1 convolution and a norm. From "fewer-activations" on, one act:
          after the first 1x1
Shapes:   (N, 3, H, W) -stem-> (N, C0, H/4, W/4) -stages-> (N, C4, H/32, W/32) -> (N, K)
Defaults: drop_path .1 ("50") and .5 ("200"), weights N(0, .02): the recipe at the end of the road; the paper
          trains all steps alike, but states neither step by step. AdamW, lr 2.5e-4 for 256 images, weight decay .05
          (Table 5: 4e-3 for 4096 images)
Differs:  the paper gives the steps in words. Multiply-adds agree with its numbers to two decimals at every step whose
          number we have, except the last of "50" (4.46 counted, 4.49 printed). Where counts do not decide, the choice
          is ours: no activation after the patch stem, norms after the shortcuts' convolutions at every step, biases in
          convolutions from "layer-norm" on. The ends are ResNet-50-B, and ConvNeXt without layer scale. "kernel-7" and
          "gelu" have the same keys, and another activation: plain weights do not tell which they are of. The stem has
          stride 2 for images of up to 64 px and 1 for up to 32 px; the 7x7 is then a 3x3 without pooling: ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Unpack

from torch import Tensor, nn

from zoo.convnext import patch_for
from zoo.frame.arguments import ADAMW, Training
from zoo.frame.model import Model
from zoo.frame.stages import Stages
from zoo.layers.drop_path import DropPath, linear_rates
from zoo.layers.init import normal_02
from zoo.layers.layer_norm_2d import LayerNorm2d
from zoo.layers.layout import global_average


@dataclass(frozen=True)
class Design:
    """What the steps change. The convolutions of a block are 0, 1 and 2."""

    blocks: tuple[int, ...]  # per stage
    drop_path: float  # probability that an example skips the last block
    width: int = 64  # c of the first stage, and channels of the stem
    patch_stem: bool = False  # patches instead of a 7x7 convolution and pooling
    depthwise: bool = False  # the k x k convolution
    form: str = "bottleneck"  # "inverted": 4c inside, c outside; "moved-up": k x k first
    kernel: int = 3  # k
    act: Callable[[], nn.Module] = partial(nn.ReLU, inplace=True)  # kind of activation
    acts: tuple[int, ...] = (0, 1, 2)  # convolutions with an activation; that of 2 is after the sum
    norms: tuple[int, ...] = (0, 1, 2)  # convolutions with a norm
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d  # kind of norm
    bias: bool = False  # of convolutions
    separate: bool = False  # norm and convolution between the stages, instead of strides within them


# What each step changes, in the order of Figure 2; changes add up
STEPS: dict[str, dict[str, Any]] = {
    "resnet": {},
    "stage-ratio": {"blocks": (3, 3, 9, 3)},
    "patch-stem": {"patch_stem": True},
    "depthwise": {"depthwise": True},
    "width": {"width": 96},
    "inverted": {"form": "inverted"},
    "moved-up": {"form": "moved-up"},
    "kernel-5": {"kernel": 5},
    "kernel-7": {"kernel": 7},
    "kernel-9": {"kernel": 9},
    "kernel-11": {"kernel": 11},
    "gelu": {"kernel": 7, "act": nn.GELU},
    "fewer-activations": {"acts": (1,)},
    "fewer-norms": {"norms": (0,)},
    "layer-norm": {"norm": partial(LayerNorm2d, eps=1e-6), "bias": True},
    "separate-downsampling": {"separate": True},
}
# Where the steps from ResNet-200 differ
STEPS_200: dict[str, dict[str, Any]] = {"stage-ratio": {"blocks": (3, 3, 27, 3), "width": 84}, "width": {"width": 128}}


def walk(road: str, design: Design, steps: dict[str, dict[str, Any]]) -> dict[str, Design]:
    """Return the design after each step, by "road-step"."""
    designs = {}
    for step, change in steps.items():
        designs[f"{road}-{step}"] = design = replace(design, **change)
    return designs


# "50-" or "200-" and a step
VARIANTS = walk("50", Design((3, 4, 6, 3), drop_path=0.1), STEPS)
VARIANTS |= walk("200", Design((3, 24, 36, 3), drop_path=0.5), STEPS | STEPS_200)
SAME_KEYS = (("gelu", "kernel-7"), ("kernel-7", "gelu"))  # steps whose activation alone differs


def convolutions(c_in: int, c: int, stride: int, d: Design) -> tuple[tuple[int, int, int, int, int], ...]:
    """Return the three convolutions of a block, each (channels in, channels out, kernel, stride, groups)."""
    if d.form == "bottleneck":
        return (c_in, c, 1, 1, 1), (c, c, d.kernel, stride, c if d.depthwise else 1), (c, 4 * c, 1, 1, 1)
    if d.form == "inverted":
        return (c_in, 4 * c, 1, 1, 1), (4 * c, 4 * c, d.kernel, stride, 4 * c), (4 * c, c, 1, 1, 1)
    return (c_in, c_in, d.kernel, stride, c_in), (c_in, 4 * c, 1, 1, 1), (4 * c, c, 1, 1, 1)


def expansion(d: Design) -> int:
    """Return how many times c channels a block returns, c those of its stage."""
    return 4 if d.form == "bottleneck" else 1


class Block(nn.Module):
    """Three convolutions and a shortcut. Shapes: (N, C_in, H, W) -> (N, C_out, H/s, W/s)."""

    def __init__(self, c_in: int, c: int, stride: int, d: Design, drop_path: float):
        super().__init__()
        c_out = c * expansion(d)
        layers: list[nn.Module] = []
        for i, (a, b, k, s, g) in enumerate(convolutions(c_in, c, stride, d)):
            layers.append(nn.Conv2d(a, b, kernel_size=k, stride=s, padding=k // 2, groups=g, bias=d.bias))
            layers += [d.norm(b)] if i in d.norms else []
            layers += [d.act()] if i in d.acts and i < 2 else []
        self.branch = nn.Sequential(*layers)
        conv = nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=d.bias)
        self.shortcut = nn.Identity() if stride == 1 and c_in == c_out else nn.Sequential(conv, d.norm(c_out))
        self.drop_path = DropPath(drop_path)
        self.act = d.act() if 2 in d.acts else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop_path(self.branch(x)) + self.shortcut(x))


class ConvNeXtRoadmap(Model):
    """`ConvNeXtRoadmap("50-depthwise")` is ResNet-50 with all changes up to depthwise convolutions, these included.

    Args:
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first
            block. None: .1 on the road from ResNet-50, .5 from ResNet-200.
    """

    variants = VARIANTS
    twins = {f"{road}-{one}": f"{road}-{other}" for road in ("50", "200") for one, other in SAME_KEYS}
    block_path = "stages.0.1"
    training_defaults = ADAMW

    def __init__(
        self,
        variant: str | int = "50-separate-downsampling",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.needs_at_least(8)
        d = VARIANTS[self.variant]
        self.stem = stem(d, patch_for(self.image_size, 4))
        stages, c_in = [], d.width
        for i, rates in enumerate(linear_rates(d.drop_path if drop_path is None else drop_path, d.blocks)):
            stages.append(stage(d, c_in, d.width * 2**i, rates, shrink=i > 0))
            c_in = d.width * 2**i * expansion(d)
        self.stages = Stages(stages)
        self.norm = nn.LayerNorm(c_in, eps=1e-6) if d.separate else nn.Identity()
        self.head = nn.Linear(c_in, num_classes)
        self.apply(normal_02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages.values():
            x = stage(x)
        x = global_average(x)  # (N, C4)
        return self.head(self.norm(x))


def stem(d: Design, stride: int) -> nn.Sequential:
    """Return ResNet's 7x7 and pooling, or patches. Shapes: (N, 3, H, W) -> (N, C0, H/s, W/s)."""
    if d.patch_stem:
        patches = nn.Conv2d(3, d.width, kernel_size=stride, stride=stride, bias=d.bias)
        return nn.Sequential(patches, d.norm(d.width))
    k = 7 if stride == 4 else 3
    conv = nn.Conv2d(3, d.width, kernel_size=k, stride=min(stride, 2), padding=k // 2, bias=False)
    pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if stride == 4 else nn.Identity()
    return nn.Sequential(conv, d.norm(d.width), d.act(), pool)


def stage(d: Design, c_in: int, c: int, rates: list[float], shrink: bool) -> nn.Sequential:
    """Return the blocks. The first one shrinks the maps; at the last step, a convolution before it does."""
    layers: list[nn.Module] = []
    stride = 2 if shrink else 1
    if d.separate and shrink:
        layers = [d.norm(c_in), nn.Conv2d(c_in, c, kernel_size=2, stride=2)]
        c_in, stride = c, 1
    for rate in rates:
        layers.append(Block(c_in, c, stride, d, rate))
        c_in, stride = c * expansion(d), 1
    return nn.Sequential(*layers)
