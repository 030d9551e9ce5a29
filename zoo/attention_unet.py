"""AttentionUNet: a U-Net in which coarser maps weigh the pixels of each skip connection.

Paper:    Attention U-Net: Learning Where to Look for the Pancreas (Oktay et al.; MIDL 2018)
          https://arxiv.org/abs/1804.03999, equations 1 and 2, figures 1 and 2
Code:     https://github.com/ozan-oktay/Attention-Gated-Networks (the authors', for volumes): which skips are gated, how
          wide, and the sizes of theta, phi and psi; keys are ours, those of the U-Net as in `zoo/unet.py`
Block:    gate(x, g) = a x,   a = up(sigmoid(psi ReLU(theta x + phi g)));  x the skip, g the decoder's map one level
          below;  theta: 2x2 of stride 2 without bias;  phi, psi: 1x1;  up: bilinear, to the size of x
Shapes:   as U-Net's;  gate: x (N, C, H, W), g (N, 2C, H/2, W/2) -> (N, C, H, W);  a (N, 1, H, W)
Defaults: w = 64, theta and phi as wide as x (the authors' code, where w is 16); gates at the levels 4, 3 and 2
Differs:  images in place of volumes. The U-Net around the gates is that of `zoo/unet.py`; the authors' has norms, deep
          supervision, upsampling without weights, and a 1x1 convolution with norm on g and after each gate.
"""

from typing import Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.layers.unet_levels import VARIANTS, UNetLevels


class Gate(nn.Module):
    """Additive attention. Shapes: x (N, C, H, W), g (N, 2C, H/2, W/2) -> (N, C, H, W)."""

    def __init__(self, c: int):
        super().__init__()
        self.theta = nn.Conv2d(c, c, kernel_size=2, stride=2, bias=False)
        self.phi = nn.Conv2d(2 * c, c, kernel_size=1)
        self.relu = nn.ReLU(inplace=True)
        self.psi = nn.Conv2d(c, 1, kernel_size=1)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        a = self.psi(self.relu(self.theta(x) + self.phi(g))).sigmoid()  # (N, 1, H/2, W/2)
        return x * F.interpolate(a, size=x.shape[-2:], mode="bilinear", align_corners=False)


class AttentionUNet(UNetLevels):
    """`AttentionUNet(num_classes=2)`; `AttentionUNet("16", num_classes=4, image_size=64)` for a CPU.

    Its stages are those of `UNet`; the gates are `gate4`, `gate3` and `gate2`.

    Args:
        num_classes: K, background included.
        image_size: side of the images in pixels, for export and counts; any multiple of 16 is taken.

    Raises:
        ValueError: a size that 16 does not divide.
    """

    block_path = "gate3"

    def __init__(
        self,
        variant: str | int = "64",
        num_classes: int = 2,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        _, w2, w3, w4 = VARIANTS[self.variant].levels
        self.gate4, self.gate3, self.gate2 = Gate(w4), Gate(w3), Gate(w2)

    def forward(self, x: Tensor) -> Tensor:
        e1, e2, e3, e4, x = self.encode(x)
        x = self.decoder4(x, self.gate4(e4, x))
        x = self.decoder3(x, self.gate3(e3, x))
        x = self.decoder2(x, self.gate2(e2, x))
        x = self.decoder1(x, e1)
        return self.head(x)
