"""Inception-v4: the last Inception without shortcuts, deeper and more regular than v3.

Paper:    Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning (Szegedy, Ioffe, Vanhoucke,
          Alemi; AAAI 2017) https://arxiv.org/abs/1602.07261, figures 3 to 9, table 1
Code:     timm 1.0's `inception_v4` inside (a network whose size is in tables): its layers, keys and function
Block:    four branches, concatenated along the channels; A (35 x 35): [1x1 | 1x1, 3x3 | 1x1, 3x3, 3x3 | average pool,
          1x1]; B (17 x 17): 1x7 and 7x1 in place of 3x3; C (8 x 8): 1x3 and 3x1, side by side at the end of a branch.
          BN and ReLU follow each convolution
Shapes:   (N, 3, 299, 299) -stem-> 384 x 35 x 35 -4 A, reduction-> -7 B-> 1024 x 17 x 17 -reduction, 3 C-> 1536 x 8 x 8
          -mean-> (N, K)
Defaults: training arguments of `Classifier`; dropout 0.2 (figure 9: keep 0.8); initialisation of timm, which is torch's
Differs:  The network is timm's code, not ours, and has no auxiliary head. For images of up to 64 px strides of the stem
          are 1, with padding, but for the last one; not in the paper. SGD, where the paper has RMSProp on replicas, as
          Inception-v3 has.
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


VARIANTS = {"v4": Row("inception_v4")}


class InceptionV4(Model):
    """`InceptionV4()` for ImageNet at 299 px, `InceptionV4(num_classes=10, image_size=32)` for CIFAR."""

    variants = VARIANTS
    stage_paths = tuple(f"network.features.{i}" for i in (2, 3, 9, 17, 21))
    default_size = 299
    timm_names = {name: row.network for name, row in VARIANTS.items()}

    def __init__(
        self,
        variant: str | int = "v4",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.needs_at_least(13 if self.small else 75)
        network: Any = timm.create_model(VARIANTS[self.variant].network, num_classes=num_classes, drop_rate=0.2)
        if self.small:
            conv1, conv2, _, mixed3, mixed4, mixed5 = network.features[:6]
            keep_size(conv1, conv2, mixed3.conv, mixed4.branch0[-1], mixed4.branch1[-1])
            mixed3.maxpool = nn.MaxPool2d(3, stride=1, padding=1)
            mixed5.conv.conv.padding, mixed5.maxpool.padding = (1, 1), 1
        self.network = network
        self.preprocessing = Preprocessing.of_timm(network, self.in_chans)
