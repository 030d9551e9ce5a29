"""Inception-v3: GoogLeNet's blocks with large kernels split into small ones, such as 7x7 into 1x7 and 7x1.

Paper:    Rethinking the Inception Architecture for Computer Vision (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna; CVPR
          2016) https://arxiv.org/abs/1512.00567, table 1, figures 5 to 7 and 10, last row of table 3
Code:     keys and function of torchvision 0.29 `inception_v3`
Block:    A (35 x 35): [1x1 | 1x1, 5x5 | 1x1, 3x3, 3x3 | pool, 1x1]; C (17 x 17): [1x1 | 1x1, 1x7, 7x1 | 1x1, then 7x1
          and 1x7 twice | pool, 1x1]; E (8 x 8): [1x1 | 1x1, {1x3 | 3x1} | 1x1, 3x3, {1x3 | 3x1} | pool, 1x1]; B and D
          halve the maps: [3x3 | 1x1, 3x3, 3x3 | max pool], [1x1, 3x3 | 1x1, 1x7, 7x1, 3x3 | max pool], each last
          layer of stride 2. BN and ReLU follow each convolution
Shapes:   (N, 3, 299, 299) -stem-> 192 x 35 x 35 -3 A-> 288 x 35 x 35 -B, 4 C-> 768 x 17 x 17 -D, 2 E-> 2048 x 8 x 8
          -mean-> (N, K); in training also an auxiliary head on the last 17 x 17 maps
Defaults: training arguments of `Classifier`; auxiliary weight 0.4 (TF-slim's; the paper gives none), dropout 0.5
          (TF-slim: 0.2), batch norm epsilon 1e-3 and weights N(0, 0.1^2), N(0, 0.01^2) in the head's 5x5, as
          torchvision
Differs:  Both layers of the classes start from N(0, 0.001^2); torchvision's main one from N(0, 0.1^2), which puts the
          first loss far above ln K. torchvision's trained weights expect images normalised with mean 0.5 and std 0.5
          (its `transform_input`). The auxiliary head pools 5x5 with stride 3 from 299 px on; for smaller images it
          averages the maps to 5 x 5, so that its 5x5 fits. For images of up to 64 px strides of the stem are 1, with
          padding, but for its second pool; not in the paper. SGD, where the paper has RMSProp on asynchronous replicas
          of 32 images: their rate is none for one process.
"""

from dataclasses import dataclass
from typing import Any, Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.layers.conv_bn import ConvBNReLU
from zoo.layers.inception import A, B, C, D, E
from zoo.layers.layout import GlobalAvgPool, global_average


@dataclass(frozen=True)
class Row:
    """The widths that figures 5 to 7 leave open."""

    pool: tuple[int, int, int]  # channels of the 1x1 after the pool, in each A
    c7: tuple[int, int, int, int]  # channels inside the branches with 1x7 and 7x1, in each C


VARIANTS = {"v3": Row((32, 64, 64), (128, 160, 160, 192))}  # the last row of table 3, the network that was released


class AuxiliaryHead(nn.Module):
    """A classifier on maps from the middle of the network. Shapes: (N, C, H, W) -> (N, K)."""

    def __init__(self, c_in: int, num_classes: int, pool: nn.Module):
        super().__init__()
        self.pool = pool
        self.conv0 = ConvBNReLU(c_in, 128, 1)
        self.conv1 = ConvBNReLU(128, 768, 5, padding=0)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.conv0(self.pool(x)))
        return self.fc(global_average(x))


class InceptionV3(Model):
    """`InceptionV3()` for ImageNet at 299 px, `InceptionV3(num_classes=10, image_size=32)` for CIFAR.

    In training the network returns the logits and `{"aux": ...}`, those of its auxiliary head.
    """

    variants = VARIANTS
    stage_paths = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")
    aux_paths = ("AuxLogits",)
    block_path = "Mixed_6b"
    default_size = 299
    torchvision_names = {"v3": "inception_v3"}

    def __init__(
        self,
        variant: str | int = "v3",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.needs_at_least(13 if self.small else 75)
        row = VARIANTS[self.variant]
        stride, padding = (1, 1) if self.small else (2, 0)
        self.Conv2d_1a_3x3 = ConvBNReLU(3, 32, 3, stride=stride, padding=padding)
        self.Conv2d_2a_3x3 = ConvBNReLU(32, 32, 3, padding=padding)
        self.Conv2d_2b_3x3 = ConvBNReLU(32, 64, 3)
        self.maxpool1 = nn.Identity() if self.small else nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = ConvBNReLU(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvBNReLU(80, 192, 3, padding=padding)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, padding=padding)
        self.Mixed_5b = A(192, row.pool[0])
        self.Mixed_5c = A(256, row.pool[1])
        self.Mixed_5d = A(288, row.pool[2])
        self.Mixed_6a = B(288)
        self.Mixed_6b = C(768, row.c7[0])
        self.Mixed_6c = C(768, row.c7[1])
        self.Mixed_6d = C(768, row.c7[2])
        self.Mixed_6e = C(768, row.c7[3])
        self.Mixed_7a = D(768)
        self.Mixed_7b = E(1280)
        self.Mixed_7c = E(2048)
        pool = nn.AvgPool2d(5, stride=3) if self.image_size >= 299 else nn.AdaptiveAvgPool2d(5)
        self.AuxLogits = AuxiliaryHead(768, num_classes, pool)
        self.avgpool = GlobalAvgPool()
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)
        self.apply(init_weights)
        nn.init.normal_(self.AuxLogits.conv1.conv.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, dict[str, Any]]:
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = middle = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if not self.training:
            return logits
        return logits, {"aux": [(0.4, self.AuxLogits(middle))]}


def init_weights(module: nn.Module) -> None:
    """Draw convolutions from N(0, 0.1^2) and linear layers from N(0, 0.001^2); set the biases of the latter to 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.1)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.001)
        nn.init.zeros_(module.bias)
