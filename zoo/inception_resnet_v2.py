"""Inception-ResNet-v2: Inception's branches as residual blocks, which learn what to add to their input.

Paper:    Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning (Szegedy, Ioffe, Vanhoucke,
          Alemi; AAAI 2017) https://arxiv.org/abs/1602.07261, figures 15 to 19, table 1, section 3.3 on scaling
Code:     timm 1.0's `inception_resnet_v2` inside (a network whose size is in tables): its layers, keys and function
Block:    y = ReLU(x + s W B(x)): B are two or three branches side by side (35 x 35: 1x1 and 3x3; 17 x 17: 1x7 and 7x1;
          8 x 8: 1x3 and 3x1), W is a 1x1 convolution with bias, s = 0.17, 0.1, 0.2 by stage
Shapes:   (N, 3, 299, 299) -stem-> 320 x 35 x 35 (10 blocks) -> 1088 x 17 x 17 (20) -> 2080 x 8 x 8 (10) -1x1-> 1536 x 8
          x 8 -mean-> (N, K)
Defaults: training arguments of `Classifier`; dropout 0.2 (keep 0.8); initialisation of timm, which is torch's
Differs:  Inside is timm's code, not ours; no auxiliary head, which timm leaves out. It is the network that was
          released: the stem is Inception-v3's, not the paper's (figure 3), and the last block has no ReLU and s = 1.
          For up to 64 px the stem's strides are 1 but for the last one, with padding; not in the paper.
"""

import timm
from torch import nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.inception import check_last_maps, keep_size

VARIANTS = {"v2": "inception_resnet_v2"}  # its name in timm; the paper's smaller v1 is not there


class InceptionResNetV2(Classifier):
    """`InceptionResNetV2()` for ImageNet at 299 px, `InceptionResNetV2(num_classes=10, image_size=32)` for CIFAR.

    Args:
        variant: "v2", the only one.
        num_classes: K.
        image_size: side of the images in pixels; up to 64 takes the small-image stem. None: 299.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for another variant or images that the network shrinks to nothing.
    """

    timm_names = VARIANTS

    def __init__(
        self,
        variant: str = "v2",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        name = VARIANTS[validate_choice(variant, VARIANTS, "InceptionResNetV2")]
        image_size = image_size or 299
        check_last_maps(image_size, "InceptionResNetV2")
        network = timm.create_model(name, num_classes=num_classes, drop_rate=0.2)
        super().__init__(network, num_classes=num_classes, image_size=image_size, **training)
        if image_size <= SMALL:
            keep_size(network.conv2d_1a, network.conv2d_2a, network.conv2d_4a)
            network.maxpool_3a = nn.MaxPool2d(3, stride=1, padding=1)
            network.maxpool_5a.padding = 1
        ends = ("conv2d_2b", "conv2d_4a", "repeat", "repeat_1", "conv2d_7b")
        self.stage_paths = {f"stage{i}": f"network.{end}" for i, end in enumerate(ends, 1)}
        if weights is not None:
            self.load_weights(weights)
