"""Inception-v4: the last Inception without shortcuts, deeper and more regular than v3.

Paper:    Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning (Szegedy, Ioffe, Vanhoucke,
          Alemi; AAAI 2017) https://arxiv.org/abs/1602.07261, figures 3 to 9, table 1
Code:     timm 1.0's `inception_v4` inside (a network whose size is in tables): its layers, keys and function
Block:    four branches side by side in the channels; A (35 x 35): [1x1 | 1x1, 3x3 | 1x1, 3x3, 3x3 | average pool, 1x1];
          B (17 x 17): 1x7 and 7x1 in place of 3x3; C (8 x 8): 1x3 and 3x1, forked at the end. Every convolution is
          followed by BN and ReLU
Shapes:   (N, 3, 299, 299) -stem-> 384 x 35 x 35 -4 A, reduction-> -7 B-> 1024 x 17 x 17 -reduction, 3 C-> 1536 x 8 x 8
          -mean-> (N, K)
Defaults: training arguments of `Classifier`; dropout 0.2 (figure 9: keep 0.8); initialisation of timm, which is torch's
Differs:  Inside is timm's code, not ours; no auxiliary head, which timm leaves out. For up to 64 px the stem's strides
          are 1 but for the last one, with padding; not in the paper.
"""

import timm
from torch import nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.inception import check_last_maps, keep_size

VARIANTS = {"v4": "inception_v4"}  # the paper has one; its name in timm


class InceptionV4(Classifier):
    """`InceptionV4()` for ImageNet at 299 px, `InceptionV4(num_classes=10, image_size=32)` for CIFAR.

    Args:
        variant: "v4", the only one.
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
        variant: str = "v4",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        name = VARIANTS[validate_choice(variant, VARIANTS, "InceptionV4")]
        image_size = image_size or 299
        check_last_maps(image_size, "InceptionV4")
        network = timm.create_model(name, num_classes=num_classes, drop_rate=0.2)
        super().__init__(network, num_classes=num_classes, image_size=image_size, **training)
        if image_size <= SMALL:
            conv1, conv2, _, mixed3, mixed4, mixed5 = network.features[:6]
            keep_size(conv1, conv2, mixed3.conv, mixed4.branch0[-1], mixed4.branch1[-1])
            mixed3.maxpool = nn.MaxPool2d(3, stride=1, padding=1)
            mixed5.conv.conv.padding, mixed5.maxpool.padding = (1, 1), 1
        self.stage_paths = {f"stage{i}": f"network.features.{j}" for i, j in enumerate((2, 3, 9, 17, 21), 1)}
        if weights is not None:
            self.load_weights(weights)
