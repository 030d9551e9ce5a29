"""Inception-ResNet-v2: Inception's branches as residual blocks, which learn what to add to their input.

Paper:    Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning (Szegedy, Ioffe, Vanhoucke,
          Alemi; AAAI 2017) https://arxiv.org/abs/1602.07261, figures 15 to 19, table 1, section 3.3 on scaling
Code:     timm 1.0's `inception_resnet_v2` inside (a network whose size is in tables): its layers, keys and function
Block:    y = ReLU(x + s W B(x)): B(x) concatenates two or three branches (35 x 35: 1x1 and 3x3; 17 x 17: 1x7 and 7x1;
          8 x 8: 1x3 and 3x1), W is a 1x1 convolution with bias, s = 0.17, 0.1, 0.2 in the three stages
Shapes:   (N, 3, 299, 299) -stem-> 320 x 35 x 35 (10 blocks) -> 1088 x 17 x 17 (20) -> 2080 x 8 x 8 (10) -1x1-> 1536 x 8
          x 8 -mean-> (N, K)
Defaults: training arguments of `Classifier`; dropout 0.2 (keep 0.8); initialisation of timm, which is torch's
Differs:  The network is timm's code, not ours, and has no auxiliary head. It is the one that was released: the stem is
          Inception-v3's, not the paper's (figure 3), and the last block has s = 1 and no ReLU. For images of up to 64
          px strides of the stem are 1, with padding, but for the last one; not in the paper. SGD, where the paper has
          RMSProp on replicas, as Inception-v3 has.
"""

from dataclasses import dataclass
from typing import Any, Unpack

import timm
from torch import nn

from zoo.frame.arguments import Training
from zoo.frame.model import Model
from zoo.frame.preprocessing import Preprocessing
from zoo.layers.inception import keep_size


@dataclass(frozen=True)
class Row:
    """A network of the paper."""

    network: str  # its name in timm


VARIANTS = {"v2": Row("inception_resnet_v2")}  # the paper's smaller v1 is not in timm


class InceptionResNetV2(Model):
    """`InceptionResNetV2()` for ImageNet at 299 px, `InceptionResNetV2(num_classes=10, image_size=32)` for CIFAR."""

    variants = VARIANTS
    stage_paths = (
        "network.conv2d_2b",
        "network.conv2d_4a",
        "network.repeat",
        "network.repeat_1",
        "network.conv2d_7b",
    )
    block_path = "network.repeat.0"
    default_size = 299
    timm_names = {name: row.network for name, row in VARIANTS.items()}

    def __init__(
        self,
        variant: str | int = "v2",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.needs_at_least(13 if self.small else 75)
        network: Any = timm.create_model(VARIANTS[self.variant].network, num_classes=num_classes, drop_rate=0.2)
        if self.small:
            keep_size(network.conv2d_1a, network.conv2d_2a, network.conv2d_4a)
            network.maxpool_3a = nn.MaxPool2d(3, stride=1, padding=1)
            network.maxpool_5a.padding = 1
        self.network = network
        self.preprocessing = Preprocessing.of_timm(network, self.in_chans)
