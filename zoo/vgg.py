"""VGG: nothing but 3x3 convolutions, 11 to 19 layers deep.

Paper:    Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan, Zisserman; ICLR 2015)
          https://arxiv.org/abs/1409.1556, table 1, columns A, B, D and E
Code:     keys and function of torchvision 0.29 `vgg*` and `vgg*_bn`
Block:    stage = (conv3x3 [BN] ReLU) x n, then max pool 2x2; head: (linear ReLU dropout) x 2, linear
Shapes:   (N, 3, H, W) -> 64 x H -> 128 x H/2 -> 256 x H/4 -> 512 x H/8 -> 512 x H/16 -pool-> (N, 512 (H/32)^2) -> 4096
          -> 4096 -> (N, K)
Defaults: momentum .9 without Nesterov, lr .01 for 256 images, weight decay 5e-4, dropout 0.5 (section 3.1).
          Initialisation of torchvision: convolutions He normal by fan-out, linear layers N(0, 0.01^2), biases 0
Differs:  The paper starts its deeper networks from a trained A, and A from N(0, 0.01^2). "-BN" (batch norm before each
          ReLU) is torchvision's, not the paper's. A-LRN, C and dense evaluation are left out. At other sizes than 224
          px the last maps are averaged to 7 x 7, as in torchvision. For images of up to 64 px the head reads the maps
          that are left, H/32 x H/32; convolutions and pools stay as they are, as in the CIFAR literature.
"""

from dataclasses import dataclass, replace
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.init import he_fan_out_01

WIDTHS = (64, 128, 256, 512, 512)  # channels per stage


@dataclass(frozen=True)
class Row:
    """A column of table 1."""

    depths: tuple[int, int, int, int, int]  # convolutions per stage
    batch_norm: bool = False  # before each ReLU


PLAIN = {
    "11": Row((1, 1, 2, 2, 2)),
    "13": Row((2, 2, 2, 2, 2)),
    "16": Row((2, 2, 3, 3, 3)),
    "19": Row((2, 2, 4, 4, 4)),
}
VARIANTS = PLAIN | {f"{name}-BN": replace(row, batch_norm=True) for name, row in PLAIN.items()}


class VGG(Model):
    """`VGG("16")` as in the paper, `VGG("16-BN", num_classes=10, image_size=32)` for CIFAR."""

    variants = VARIANTS
    training_defaults = {"optimizer": "momentum", "lr": 0.01, "weight_decay": 5e-4}
    torchvision_names = {name: f"vgg{name.replace('-BN', '_bn')}" for name in VARIANTS}

    def __init__(
        self,
        variant: str | int = "16",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.needs_at_least(32)
        row = VARIANTS[self.variant]
        self.features, c_in = nn.Sequential(), 3
        for depth, width in zip(row.depths, WIDTHS, strict=True):
            for _ in range(depth):
                self.features.extend(layer(c_in, width, row.batch_norm))
                c_in = width
            self.stage_paths = (*self.stage_paths, f"features.{len(self.features) - 1}")  # the last ReLU of the stage
            self.features.append(nn.MaxPool2d(kernel_size=2, stride=2))
        side = self.image_size // 32 if self.small else 7
        self.avgpool = nn.AdaptiveAvgPool2d(side)  # the identity at the paper's image size
        self.classifier = nn.Sequential(
            nn.Linear(512 * side**2, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Linear(4096, num_classes),
        )  # fmt: skip
        self.apply(he_fan_out_01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))  # (N, 512, 7, 7)
        return self.classifier(x.flatten(1))


def layer(c_in: int, c_out: int, batch_norm: bool) -> list[nn.Module]:
    """Return a 3x3 convolution, batch norm if asked for, ReLU. Shapes: (N, C_in, H, W) -> (N, C_out, H, W)."""
    norm = [nn.BatchNorm2d(c_out)] if batch_norm else []
    return [nn.Conv2d(c_in, c_out, kernel_size=3, padding=1), *norm, nn.ReLU(inplace=True)]
