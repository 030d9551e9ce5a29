"""NIN: after each large convolution, a small network over the channels of every pixel (1x1 convolutions).

Paper:    Network In Network (Lin, Chen, Yan; ICLR 2014) https://arxiv.org/abs/1312.4400; "thin" and "wide" are student
          and teacher of Paying More Attention to Attention (Zagoruyko, Komodakis; ICLR 2017)
          https://arxiv.org/abs/1612.03928, table 1
Code:     https://github.com/szagoruyko/cifar.torch, models/nin.lua (with batch norm; by the second paper's author)
Block:    mlpconv = conv k x k, then 1x1 convolutions, each followed by BN and ReLU; the last 1x1 makes one map a class,
          and the maps' means are the logits
Shapes:   (N, 3, H, W) -mlpconv, max pool, dropout-> (N, 96, H/2, W/2) -mlpconv, average pool, dropout-> (N, 192, H/4,
          W/4) -mlpconv-> (N, 192, H/4, W/4) -1x1-> (N, K, H/4, W/4) -mean-> (N, K); "thin": half of these channels
Defaults: training arguments of `Classifier`; dropout 0.5 and batch norm epsilon 1e-3 from nin.lua; He initialisation,
          fan-in
Differs:  The first paper has no batch norm. The second gives no widths, only 0.2 and 1 million parameters: "wide" is
          nin.lua (0.97 million), "thin" has half of its widths (0.25 million). nin.lua has BN and ReLU on the maps of
          the classes; here they have neither, because means of such maps are never negative and stay near 1, so that
          the loss falls slowly. nin.lua draws weights from N(0, 0.05^2), which halves the signal in most layers until
          the batch norms have their statistics. Keys are our own: neither library has NIN.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_in
from zoo.layers.layout import global_average


@dataclass(frozen=True)
class Row:
    """Channels of the layers of each mlpconv; a ninth layer gives the classes."""

    first: tuple[int, int, int]
    second: tuple[int, int, int]
    third: tuple[int, int]


VARIANTS = {
    "thin": Row((96, 80, 48), (96, 96, 96), (96, 96)),
    "wide": Row((192, 160, 96), (192, 192, 192), (192, 192)),
}


class NIN(Model):
    """`NIN("thin", num_classes=10)`, for images of up to 64 px."""

    variants = VARIANTS
    small_only = VARIANTS
    stage_paths = ("mlpconv1", "mlpconv2", "mlpconv3")

    def __init__(
        self,
        variant: str | int = "wide",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        self.mlpconv1 = mlpconv(3, row.first, size=5)
        self.pool1 = nn.Sequential(nn.MaxPool2d(3, stride=2, ceil_mode=True), nn.Dropout(0.5))
        self.mlpconv2 = mlpconv(row.first[-1], row.second, size=5)
        self.pool2 = nn.Sequential(nn.AvgPool2d(3, stride=2, ceil_mode=True), nn.Dropout(0.5))
        self.mlpconv3 = mlpconv(row.second[-1], row.third, size=3)
        self.head = nn.Conv2d(row.third[-1], num_classes, kernel_size=1)
        self.apply(he_fan_in)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.mlpconv1(x))
        x = self.pool2(self.mlpconv2(x))
        x = self.head(self.mlpconv3(x))  # (N, K, H/4, W/4): one map a class
        return global_average(x)


def mlpconv(c_in: int, channels: tuple[int, ...], size: int) -> nn.Sequential:
    """Return a convolution of size x size, then 1x1 convolutions, each with batch norm and ReLU.

    Shapes: (N, C_in, H, W) -> (N, channels[-1], H, W).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, c_out in enumerate(channels, 1):
        layers[f"conv{i}"] = nn.Conv2d(c_in, c_out, size, padding=size // 2)
        layers[f"bn{i}"] = nn.BatchNorm2d(c_out, eps=1e-3)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        c_in, size = c_out, 1
    return nn.Sequential(layers)
