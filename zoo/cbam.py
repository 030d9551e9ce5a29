"""CBAM: a residual network whose blocks weigh first their channels, then their pixels.

Paper:    CBAM: Convolutional Block Attention Module (Woo, Park, Lee, Kweon; ECCV 2018) https://arxiv.org/abs/1807.06521
Code:     https://github.com/Jongchan/attention-module (the authors'); its keys
Block:    y = ReLU(x + Ms * F'), F' = Mc * F(x), F: the two 3x3 or the bottleneck of ResNet-B
          Mc = sigmoid(MLP(mean F) + MLP(max F)), one number a channel, the MLP C -> C/16 -> C shared
          Ms = sigmoid(BN conv7x7 [max F', mean F']), one number a pixel, max and mean over channels
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -4 stages-> (N, 512e, H/32, W/32) -> (N, K), e = 1 or 4
Defaults: reduction 16, kernel 7; He initialisation by fan-out, of the head by fan-in with bias 0; the gamma of Ms
          starts at 0 (so each pixel at 1/2) and its statistics move by 0.01 a batch (the authors')
Differs:  the paper counts a bottleneck's stride in the 1x1 (3.864 G for 50), the authors' code has it in the 3x3
          (4.096 G), which is taken. For images of up to 64 px the stem is one 3x3 of stride 1 without pooling, as in
          the authors' CIFAR form.
"""

import torch
from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.resnet import CONV3, init_weights, make_shortcut, stem

REDUCTION = 16


class ChannelGate(nn.Module):
    """Weighs channels: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, c: int):
        super().__init__()
        squeeze, excite = nn.Linear(c, c // REDUCTION), nn.Linear(c // REDUCTION, c)
        self.mlp = nn.Sequential(nn.Flatten(), squeeze, nn.ReLU(inplace=True), excite)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))  # (N, C)
        return x * weight[:, :, None, None]


class SpatialGate(nn.Module):
    """Weighs pixels: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self):
        super().__init__()
        self.spatial = nn.Sequential()
        self.spatial.add_module("conv", nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False))
        self.spatial.add_module("bn", nn.BatchNorm2d(1, momentum=0.01))
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)  # (N, 2, H, W)
        return x * self.sigmoid(self.spatial(seen))


class CBAM(nn.Sequential):
    """Channels, then pixels. Shapes: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, c: int):
        super().__init__()
        self.ChannelGate = ChannelGate(c)  # so in the authors' files
        self.SpatialGate = SpatialGate()


class CBAMBasic(nn.Module):
    """Two 3x3 convolutions. Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    expansion = 1

    def __init__(self, c_in: int, w: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, w, stride=stride, **CONV3)
        self.bn1 = nn.BatchNorm2d(w)
        self.conv2 = nn.Conv2d(w, w, **CONV3)
        self.bn2 = nn.BatchNorm2d(w)
        self.relu = nn.ReLU(inplace=True)
        self.cbam = CBAM(w)
        self.downsample = None if stride == 1 and c_in == w else make_shortcut(c_in, w, stride, "B")

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.cbam(self.bn2(self.conv2(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class CBAMBottleneck(nn.Module):
    """1x1 to w channels, 3x3, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    expansion = 4

    def __init__(self, c_in: int, w: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, w, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(w)
        self.conv2 = nn.Conv2d(w, w, stride=stride, **CONV3)
        self.bn2 = nn.BatchNorm2d(w)
        self.conv3 = nn.Conv2d(w, 4 * w, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * w)
        self.relu = nn.ReLU(inplace=True)
        self.cbam = CBAM(4 * w)
        self.downsample = None if stride == 1 and c_in == 4 * w else make_shortcut(c_in, 4 * w, stride, "B")

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.cbam(self.bn3(self.conv3(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


#        variant -> block, blocks per stage
VARIANTS = {
    "18": (CBAMBasic, (2, 2, 2, 2)),
    "34": (CBAMBasic, (3, 4, 6, 3)),
    "50": (CBAMBottleneck, (3, 4, 6, 3)),
    "101": (CBAMBottleneck, (3, 4, 23, 3)),
}


class CBAMResNet(Classifier):
    """`CBAMResNet("50")` for ImageNet, `CBAMResNet("18", num_classes=10, image_size=32)` for small images.

    Args:
        variant: "18", "34", "50" or "101".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are).
    """

    def __init__(
        self,
        variant: str | int = "50",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        variant = validate_choice(str(variant), VARIANTS, "CBAMResNet")
        block, blocks = VARIANTS[variant]
        image_size = image_size or 224
        super().__init__(num_classes=num_classes, image_size=image_size, **training)
        self.stage_paths: dict[str, str] = {}

        self.conv1 = stem(64, deep=False, stride=1 if image_size <= SMALL else 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if image_size <= SMALL else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        c_in = 64
        for i, depth in enumerate(blocks):
            w = 64 * 2**i
            first = block(c_in, w, 1 if i == 0 else 2)
            c_in = w * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *(block(c_in, w, 1) for _ in range(depth - 1))))
            self.stage_paths[f"stage{i + 1}"] = f"layer{i + 1}"
        self.fc = nn.Linear(c_in, num_classes)
        self.apply(init_weights)
        self.apply(init_gates)
        nn.init.kaiming_normal_(self.fc.weight, nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for layer in self.stage_paths.values():
            x = getattr(self, layer)(x)
        return self.fc(x.mean((2, 3)))


def init_gates(module: nn.Module) -> None:
    """A pixel starts at 1/2, whatever it shows; a channel near 1/2."""
    if isinstance(module, SpatialGate):
        nn.init.zeros_(module.spatial.bn.weight)
    elif isinstance(module, ChannelGate):
        for linear in (module.mlp[1], module.mlp[3]):
            nn.init.zeros_(linear.bias)
