"""DenseNet: each layer sees what all layers before it in its block have made.

Paper:    Densely Connected Convolutional Networks (Huang, Liu, van der Maaten, Weinberger; CVPR 2017)
          https://arxiv.org/abs/1608.06993, Tables 1 and 2
Code:     https://github.com/liuzhuang13/DenseNet (the authors', Lua); keys and functions of torchvision 0.29
          `densenet*`
Block:    x_l = H([x_0, ..., x_{l-1}]), k channels; H: BN ReLU conv3x3, in -BC rows BN ReLU conv1x1 (4k) BN ReLU
          conv3x3; between blocks BN ReLU conv1x1 (theta of the channels) and average pooling 2x2
Shapes:   (N, 3, H, W) -stem-> (N, 2k, H/4, W/4) -4 blocks-> (N, C, H/32, W/32) -BN ReLU-> (N, K);
          CIFAR rows: (N, 2k or 16, H, W) -3 blocks-> (N, C, H/4, W/4) -BN ReLU-> (N, K)
Defaults: dropout 0; the paper takes 0.2 where data are not augmented. theta .5 in -BC and ImageNet rows, 1 in plain
          ones. He initialisation by fan-out, bias of the head 0 (the authors')
Differs:  torchvision draws weights by fan-in, and drops after 3x3 convolutions only; the authors, and we, drop after
          each convolution but the first. CIFAR rows have torchvision's keys. Plain rows start with 16 channels, as in
          the paper; the released code starts with 2k. With the blocks that the paper lists, 264 has 265 layers. The
          small-image stem of ImageNet rows (3x3, stride 1, no pooling) is ours.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_out
from zoo.layers.layout import global_average
from zoo.layers.residual import conv1, conv3, stem, stem_pool


@dataclass(frozen=True)
class Row:
    """A row of Table 1 (four blocks, for ImageNet) or of Table 2 (three, for CIFAR)."""

    depths: tuple[int, ...]  # layers per block
    k: int  # growth rate
    stem: int  # channels of the first convolution
    bottleneck: bool  # the -BC form


IMAGENET = {
    "121": Row((6, 12, 24, 16), k=32, stem=64, bottleneck=True),
    "161": Row((6, 12, 36, 24), k=48, stem=96, bottleneck=True),
    "169": Row((6, 12, 32, 32), k=32, stem=64, bottleneck=True),
    "201": Row((6, 12, 48, 32), k=32, stem=64, bottleneck=True),
    "264": Row((6, 12, 64, 48), k=32, stem=64, bottleneck=True),
}
CIFAR = {  # "depth-k"; 4 of the layers are not in blocks, and a bottleneck counts as two
    **{f"{d}-{k}": Row(((d - 4) // 3,) * 3, k, 16, False) for d, k in ((40, 12), (100, 12), (100, 24))},
    **{f"BC-{d}-{k}": Row(((d - 4) // 6,) * 3, k, 2 * k, True) for d, k in ((100, 12), (250, 24), (190, 40))},
}
VARIANTS = {**IMAGENET, **CIFAR}


class PlainLayer(nn.Module):
    """H of the plain rows: the k channels that a layer adds. Shapes: (N, C_in, H, W) -> (N, k, H, W)."""

    drawn_as = "BN, ReLU, 3×3 conv"

    def __init__(self, c_in: int, k: int, dropout: float):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(c_in)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = conv3(c_in, k)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.conv1(self.relu1(self.norm1(x))))


class BottleneckLayer(nn.Module):
    """H of the -BC rows, after a 1x1 convolution to 4k channels. Shapes: (N, C_in, H, W) -> (N, k, H, W)."""

    drawn_as = "BN, ReLU, 1×1 conv, BN, ReLU, 3×3 conv"

    def __init__(self, c_in: int, k: int, dropout: float):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(c_in)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = conv1(c_in, 4 * k)
        self.norm2 = nn.BatchNorm2d(4 * k)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = conv3(4 * k, k)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(self.conv1(self.relu1(self.norm1(x))))
        return self.dropout(self.conv2(self.relu2(self.norm2(y))))


class DenseBlock(nn.Module):
    """Layers that each append k channels. Shapes: (N, C_in, H, W) -> (N, C_in + n k, H, W)."""

    def __init__(self, layer: type[PlainLayer] | type[BottleneckLayer], c_in: int, n: int, k: int, dropout: float):
        super().__init__()
        for i in range(n):
            self.add_module(f"denselayer{i + 1}", layer(c_in + i * k, k, dropout))

    def forward(self, x: Tensor) -> Tensor:
        for name, layer in self.named_children():
            if name.startswith("denselayer"):  # a trick may put another module beside the layers
                x = torch.cat([x, layer(x)], 1)
        return x


class DenseNet(Model):
    """`DenseNet("121")` for ImageNet, `DenseNet("BC-100-12", num_classes=10)` for CIFAR.

    Args:
        dropout: probability, in [0, 1), that a feature is dropped after each convolution but the first.
    """

    variants = VARIANTS
    block_path = "features.denseblock1"
    small_only = CIFAR
    torchvision_names = {depth: f"densenet{depth}" for depth in ("121", "161", "169", "201")}
    timm_names = torchvision_names

    def __init__(
        self,
        variant: str | int = "121",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        dropout: float = 0.0,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.needs_at_least(8)
        row = VARIANTS[self.variant]
        c, blocks = row.stem, len(row.depths)
        self.stage_paths = tuple(f"features.denseblock{i}" for i in range(1, blocks + 1))
        layer, theta = (BottleneckLayer, 0.5) if row.bottleneck else (PlainLayer, 1.0)
        self.features = first_layers(c, self.small, norm=blocks == 4)
        for i, n in enumerate(row.depths, 1):
            self.features.add_module(f"denseblock{i}", DenseBlock(layer, c, n, row.k, dropout))
            c += n * row.k
            if i < blocks:
                self.features.add_module(f"transition{i}", transition(c, int(c * theta), dropout))
                c = int(c * theta)
        self.features.add_module("norm5", nn.BatchNorm2d(c))  # 5 with 3 blocks too: one key for the last norm
        self.features.add_module("relu5", nn.ReLU(inplace=True))
        self.classifier = nn.Linear(c, num_classes)
        self.apply(he_fan_out)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(global_average(self.features(x)))

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename the keys of torchvision's files: `norm.1` is `norm1` in its network and in ours."""
        return {re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key): w for key, w in state.items()}


def first_layers(c: int, small: bool, norm: bool) -> nn.Sequential:
    """Return ResNet's stem, or without `norm` (CIFAR rows) its convolution: (N, 3, H, W) -> (N, c, H/s, W/s)."""
    layers: list[tuple[str, nn.Module]] = [("conv0", stem(c, small))]
    if norm:
        layers += [("norm0", nn.BatchNorm2d(c)), ("relu0", nn.ReLU(inplace=True))]
    if not small:
        layers += [("pool0", stem_pool(small))]
    return nn.Sequential(OrderedDict(layers))


def transition(c_in: int, c_out: int, dropout: float) -> nn.Sequential:
    """Return what reduces channels and halves the maps between blocks: (N, C_in, H, W) -> (N, C_out, H/2, W/2)."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(c_in),
            relu=nn.ReLU(inplace=True),
            conv=conv1(c_in, c_out),
            dropout=nn.Dropout(dropout),
            pool=nn.AvgPool2d(kernel_size=2, stride=2),
        )
    )
