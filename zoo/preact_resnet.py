"""Pre-activation ResNet: batch norm and ReLU before each convolution, so that the shortcuts stay pure identities.

Paper:    Identity Mappings in Deep Residual Networks (He, Zhang, Ren, Sun; ECCV 2016) https://arxiv.org/abs/1603.05027
Code:     https://github.com/KaimingHe/resnet-1k-layers (the authors', CIFAR); keys and functions of timm 1.0
          `resnetv2_*`
Block:    y = x + F(x);  F basic: BN ReLU conv3x3, twice;  bottleneck: BN ReLU 1x1 (w), BN ReLU 3x3 (w), BN ReLU 1x1
          (4w). Where the shape changes: y = W ReLU BN x + F(x), W a 1x1 convolution, the BN and ReLU shared with F
Shapes:   (N, 3, H, W) -stem-> (N, 64, H/4, W/4) -stages-> (N, 512e, H/32, W/32) -BN ReLU-> (N, K), e = 1 basic, 4
          bottleneck;  CIFAR rows: (N, 16, H, W) -> (N, 64e, H/4, W/4) -> (N, K)
Defaults: training arguments of `Classifier`; He initialisation, fan-out (fb.resnet.torch)
Differs:  18 and 34 are timm's, not the paper's. ImageNet rows have the stride in the 3x3 (as timm), CIFAR bottlenecks
          in the first 1x1 (as the authors). 110 takes projection shortcuts, where the paper does not say. The
          small-image stem of ImageNet rows (3x3, stride 1, no pooling) is not in the paper.
"""

from collections import OrderedDict

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.frame.stages import Stages
from zoo.resnet import CONV3, IMAGENET, BasicBlock, init_weights, stem


class PreActBasic(nn.Module):
    """Shapes: (N, C_in, H, W) -> (N, w, H/s, W/s)."""

    expansion = 1

    def __init__(self, c_in: int, w: int, stride: int, stride_in_1x1: bool):
        super().__init__()
        self.downsample = projection(c_in, w, stride)
        self.norm1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, w, stride=stride, **CONV3)
        self.norm2 = nn.BatchNorm2d(w)
        self.conv2 = nn.Conv2d(w, w, **CONV3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        pre = self.relu(self.norm1(x))
        y = self.conv1(pre)
        y = self.conv2(self.relu(self.norm2(y)))
        return y + (x if self.downsample is None else self.downsample(pre))


class PreActBottleneck(nn.Module):
    """Shapes: (N, C_in, H, W) -> (N, 4w, H/s, W/s)."""

    expansion = 4

    def __init__(self, c_in: int, w: int, stride: int, stride_in_1x1: bool):
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.downsample = projection(c_in, 4 * w, stride)
        self.norm1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, w, kernel_size=1, stride=first, bias=False)
        self.norm2 = nn.BatchNorm2d(w)
        self.conv2 = nn.Conv2d(w, w, stride=second, **CONV3)
        self.norm3 = nn.BatchNorm2d(w)
        self.conv3 = nn.Conv2d(w, 4 * w, kernel_size=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        pre = self.relu(self.norm1(x))
        y = self.conv1(pre)
        y = self.conv2(self.relu(self.norm2(y)))
        y = self.conv3(self.relu(self.norm3(y)))
        return y + (x if self.downsample is None else self.downsample(pre))


#        variant -> block, blocks per stage, channels of stage 1
VARIANTS = {
    **{
        name: (PreActBasic if block is BasicBlock else PreActBottleneck, blocks, 64)
        for name, (block, blocks) in IMAGENET.items()
    },
    "200": (PreActBottleneck, (3, 24, 36, 3), 64),
    "110": (PreActBasic, (18, 18, 18), 16),
    "164": (PreActBottleneck, (18, 18, 18), 16),
    "1001": (PreActBottleneck, (111, 111, 111), 16),
}


class PreActResNet(Classifier):
    """`PreActResNet("50")` for ImageNet, `PreActResNet("164", num_classes=10)` for CIFAR.

    Args:
        variant: a key of `VARIANTS`: "18" "34" "50" "101" "152" "200"; CIFAR "110" "164" "1001".
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 224, or 32 in CIFAR rows.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or a CIFAR row at more than 64 px.
    """

    timm_names = {str(depth): f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)}

    def __init__(
        self,
        variant: str | int = "50",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        variant = validate_choice(str(variant), VARIANTS, "PreActResNet")
        block, blocks, width = VARIANTS[variant]
        image_size = image_size or (224 if width == 64 else 32)
        if width == 16 and image_size > SMALL:
            raise ValueError(f"PreActResNet-{variant} is for images of up to {SMALL} px, got image_size={image_size}")
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        small = image_size <= SMALL
        conv = stem(width, deep=False, stride=1 if small else 2)
        pool = nn.Identity() if small else nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.stem = nn.Sequential(OrderedDict(conv=conv, pool=pool))
        stages: list[nn.Module] = []
        c_in = width
        for i, depth in enumerate(blocks):
            w, stride = width * 2**i, 1 if i == 0 else 2
            stages.append(Stage(block, c_in, w, depth, stride, stride_in_1x1=width == 16))
            c_in = w * block.expansion
        self.stages = Stages(stages)
        self.norm = nn.BatchNorm2d(c_in)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(OrderedDict(fc=nn.Conv2d(c_in, num_classes, kernel_size=1)))  # so in timm's files
        for part in (self.stem, *stages):  # the head too is a convolution, but would start far from chance
            part.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages.values():
            x = stage(x)
        x = self.relu(self.norm(x)).mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return self.head(x).flatten(1)


class Stage(nn.Module):
    """`depth` blocks, the first of which changes size and channels."""

    def __init__(self, block: type, c_in: int, w: int, depth: int, stride: int, stride_in_1x1: bool):
        super().__init__()
        first = block(c_in, w, stride, stride_in_1x1)
        rest = (block(w * block.expansion, w, 1, stride_in_1x1) for _ in range(depth - 1))
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def projection(c_in: int, c_out: int, stride: int) -> nn.Module | None:
    """A 1x1 convolution where the shape changes, without batch norm: its input has just had one."""
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False)))
