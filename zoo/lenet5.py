"""LeNet-5 as in 1998: a sparse third layer, subsampling with weights, and an output that measures distances to codes.

Paper:    Gradient-Based Learning Applied to Document Recognition (LeCun, Bottou, Bengio, Haffner; Proc. IEEE 1998)
          https://doi.org/10.1109/5.726791, section II.B, table I, appendix A
Code:     no authors' code; counts of the paper's section II.B
Block:    C: 5x5 convolution, squash;  S: squash(w (sum of 2x2) + b), one w and b a map;  squash(a) = A tanh(2a/3),
          A = 1.7159, so that squash(1) = 1;  output: y_i = sum_j (x_j - c_ij)^2, c_i in {-1, 1}^84 fixed; logits: -y
Shapes:   (N, C, 32, 32) -C1, S2-> (N, 6, 14, 14) -C3, S4-> (N, 16, 5, 5) -C5-> (N, 120, 1, 1) -F6-> (N, 84) -> (N, K)
Defaults: variant = "1998"; weights U(-2.4/F, 2.4/F), F inputs of the unit (appendix A); biases 0: ours; training
          arguments of `Classifier`
Differs:  Codes are random signs, which the paper names as another choice; its own are drawings of the characters on
          7 x 12 pixels. The loss is the cross-entropy of -y, the paper's equation 9 without its rubbish class
          (j -> infinity). Images of other sizes than 32 px change the kernel of C5 only.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.layout import match_layout

#          maps of S2 that each map of C3 reads: table I, by their number
THREE = [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5, 0, 4, 5, 0, 1, 5]
FOUR = [
    *(0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 0, 3, 4, 5, 0, 1, 4, 5, 0, 1, 2, 5),
    *(0, 1, 3, 4, 1, 2, 4, 5, 0, 2, 3, 5),
]


@dataclass(frozen=True)
class Row:
    """The network of figure 2."""

    c5: int  # maps of C5
    f6: int  # units of F6, and length of the codes


VARIANTS = {"1998": Row(120, 84)}


def squash(a: Tensor) -> Tensor:
    """Compute 1.7159 tanh(2a/3)."""
    return 1.7159 * torch.tanh(a * 2 / 3)


class Squash(nn.Tanh):
    """`squash` as a layer. Shapes: (...) -> (...)."""

    def forward(self, a: Tensor) -> Tensor:
        return squash(a)


class Subsampling(nn.Module):
    """squash(w (sum of 2x2) + b), one w and b a map. Shapes: (N, C, H, W) -> (N, C, H/2, W/2)."""

    drawn_as = "2×2 sum, weight and bias a map\nsquash"

    def __init__(self, c: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(c, 1, 1)), nn.Parameter(torch.zeros(c, 1, 1))
        self.act = Squash()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(4 * F.avg_pool2d(x, 2) * self.weight + self.bias)


class SparseConvolution(nn.Module):
    """Six maps that read three maps, nine that read four, one that reads six. Shapes: (N, 6, H, W) -> (N, 16, H', W').

    H' = H - 4, W' = W - 4.
    """

    drawn_as = "5×5 conv, 16, of 3, 4 or 6 maps each"
    of_three: Tensor
    of_four: Tensor

    def __init__(self):
        super().__init__()
        self.three = nn.Conv2d(18, 6, kernel_size=5, groups=6)
        self.four = nn.Conv2d(36, 9, kernel_size=5, groups=9)
        self.six = nn.Conv2d(6, 1, kernel_size=5)
        self.register_buffer("of_three", torch.tensor(THREE), persistent=False)  # a list would be sent at each step
        self.register_buffer("of_four", torch.tensor(FOUR), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        three, four = (match_layout(x[:, maps], x) for maps in (self.of_three, self.of_four))
        return torch.cat([self.three(three), self.four(four), self.six(x)], 1)


class Distances(nn.Module):
    """Minus the squared distance to the code of each class, in float32 at least. Shapes: (N, D) -> (N, K)."""

    drawn_as = "minus squared distance to the code of each class"
    codes: Tensor

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.register_buffer("codes", torch.where(torch.rand(num_classes, width) < 0.5, -1.0, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return -(x.float()[:, None] - self.codes.float()).square().sum(-1)


class LeNet5(Model):
    """`LeNet5(num_classes=10, in_chans=1)`, for images of 32 px."""

    variants = VARIANTS
    stage_paths = ("s2", "s4", "c5")
    default_size = 32
    own_channels = True

    def __init__(
        self,
        variant: str | int = "1998",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.needs_at_least(16)
        row = VARIANTS[self.variant]
        side = ((self.image_size - 4) // 2 - 4) // 2  # of S4's maps, in pixels
        self.c1, self.s2 = with_squash(nn.Conv2d(self.in_chans, 6, kernel_size=5)), Subsampling(6)
        self.c3, self.s4 = with_squash(SparseConvolution()), Subsampling(16)
        self.c5 = with_squash(nn.Conv2d(16, row.c5, kernel_size=side))
        self.f6 = with_squash(nn.Linear(row.c5, row.f6))
        self.head = Distances(row.f6, num_classes)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.s4(self.c3(self.s2(self.c1(x))))  # (N, 16, 5, 5)
        return self.head(self.f6(self.c5(x).flatten(1)))


def with_squash(layer: nn.Module) -> nn.Sequential:
    """Return the layer, `layer`, and a squash behind it, `act`."""
    return nn.Sequential(OrderedDict(layer=layer, act=Squash()))


def init_weights(module: nn.Module) -> None:
    """Draw weights from U(-2.4/F, 2.4/F), F inputs of the unit; biases are 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        bound = 2.4 / module.weight[0].numel()
        nn.init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Subsampling):
        nn.init.uniform_(module.weight, -2.4 / 4, 2.4 / 4)
