"""SKNet: neurons that choose the size of their receptive field, between two kernels, from what the image shows.

Paper:    Selective Kernel Networks (Li, Wang, Hu, Yang; CVPR 2019) https://arxiv.org/abs/1903.06586, Table 1
Code:     https://github.com/implus/SKNet (the authors', Caffe, models/sknet50.prototxt); keys and function of timm 1.0
          `skresnext50_32x4d`
Block:    y = ReLU(x + F(x)), F: 1x1 (2w) BN ReLU, selective kernel (2w), 1x1 (4w) BN
          selective kernel: U1 = conv3x3, U2 = conv3x3 of dilation 2, each of 32 groups, BN, ReLU;
          z = ReLU BN W mean(U1 + U2), d numbers; a = softmax over the two of (A1 z, A2 z); V = a1 * U1 + a2 * U2
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -4 stages-> (N, 2048, H/32, W/32) -> (N, K)
Defaults: M = 2 branches, G = 32 groups, r = 16, d = max(2w / r, 32) (Table 1); He initialisation by fan-in,
          N(0, 0.01^2) for W, A1, A2 and the head (the authors')
Differs:  the stem's pooling pads by 1 (timm), the authors' rounds up instead. A1 and A2 have no bias, as in the
          equation, the authors' file and timm: 27,479,784 parameters in 50 and 48,736,040 in 101; with biases it would
          be 27,494,888 and 48,768,552. For images of up to 64 px the stem is one 3x3 of stride 1 without pooling; not
          in the paper.
"""

from collections import OrderedDict

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.dilated_conv import DilatedConv2d
from zoo.resnet import IMAGENET, make_shortcut, stem

VARIANTS = {depth: IMAGENET[depth][1] for depth in ("50", "101")}  # blocks per stage
GROUPS, REDUCTION, LEAST = 32, 16, 32


def conv_bn(c_in: int, c_out: int, size: int = 1, relu: bool = True, **options) -> nn.Sequential:
    """Convolution (same size at stride 1), BN and, unless told, ReLU."""
    dilation = options.get("dilation", 1)
    conv = nn.Conv2d if dilation == 1 else DilatedConv2d
    layers = OrderedDict(conv=conv(c_in, c_out, size, padding=dilation * (size // 2), bias=False, **options))
    layers["bn"] = nn.BatchNorm2d(c_out)
    if relu:
        layers["act"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


class Selection(nn.Module):
    """How much of each branch: their sum (N, C, H, W) -> (N, 2, C, 1, 1), adding up to 1 over the branches."""

    def __init__(self, c: int):
        super().__init__()
        d = max(c // REDUCTION, LEAST)
        self.fc_reduce = nn.Conv2d(c, d, kernel_size=1, bias=False)
        self.bn = nn.BatchNorm2d(d)
        self.act = nn.ReLU(inplace=True)
        self.fc_select = nn.Conv2d(d, 2 * c, kernel_size=1, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        s = u.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        z = self.act(self.bn(self.fc_reduce(s)))  # (N, d, 1, 1)
        return self.fc_select(z).unflatten(1, (2, -1)).softmax(1)


class SelectiveKernel(nn.Module):
    """Shapes: (N, C, H, W) -> (N, C, H/s, W/s)."""

    def __init__(self, c: int, stride: int):
        super().__init__()
        branches = (conv_bn(c, c, 3, stride=stride, dilation=dilation, groups=GROUPS) for dilation in (1, 2))
        self.paths = nn.ModuleList(branches)
        self.attn = Selection(c)

    def forward(self, x: Tensor) -> Tensor:
        u1, u2 = (path(x) for path in self.paths)
        a1, a2 = self.attn(u1 + u2).unbind(1)
        return a1 * u1 + a2 * u2


class SKBottleneck(nn.Module):
    """1x1 to 2w channels, selective kernel, 1x1 to 4w. Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    def __init__(self, c_in: int, w: int, stride: int):
        super().__init__()
        self.conv1 = conv_bn(c_in, 2 * w)
        self.conv2 = SelectiveKernel(2 * w, stride)
        self.conv3 = conv_bn(2 * w, 4 * w, relu=False)
        self.act = nn.ReLU(inplace=True)
        self.downsample = None if stride == 1 and c_in == 4 * w else make_shortcut(c_in, 4 * w, stride, "B")

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(self.conv2(self.conv1(x)))
        return self.act(y + (x if self.downsample is None else self.downsample(x)))


class SKNet(Classifier):
    """`SKNet("50")` for ImageNet, `SKNet("50", num_classes=10, image_size=32)` for small images.

    Batches must have two images or more in training: the norm in `Selection` sees one number of each.

    Args:
        variant: "50" or "101".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are).
    """

    timm_names = {"50": "skresnext50_32x4d"}

    def __init__(
        self,
        variant: str | int = "50",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        variant = validate_choice(str(variant), VARIANTS, "SKNet")
        image_size = image_size or 224
        super().__init__(num_classes=num_classes, image_size=image_size, **training)
        self.stage_paths: dict[str, str] = {}

        self.conv1 = stem(64, deep=False, stride=1 if image_size <= SMALL else 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if image_size <= SMALL else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        c_in = 64
        for i, depth in enumerate(VARIANTS[variant]):
            w = 64 * 2**i
            first, rest = (
                SKBottleneck(c_in, w, 1 if i == 0 else 2),
                (SKBottleneck(4 * w, w, 1) for _ in range(depth - 1)),
            )
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *rest))
            self.stage_paths[f"stage{i + 1}"] = f"layer{i + 1}"
            c_in = 4 * w
        self.fc = nn.Linear(c_in, num_classes)
        self.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        for layer in self.stage_paths.values():
            x = getattr(self, layer)(x)
        return self.fc(x.mean((2, 3)))


def init_weights(module: nn.Module) -> None:
    """N(0, 2 / (k^2 C_in / groups)) for convolutions, N(0, 0.01^2) for W, A and the head, whose bias is 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, Selection):  # comes after its convolutions
        nn.init.normal_(module.fc_reduce.weight, std=0.01)
        nn.init.normal_(module.fc_select.weight, std=0.01)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
