"""hysts' benchmark: random erasing, Cutout and mixup on Fashion-MNIST, with a pre-activation ResNet-20

Paper:    Improved Regularization of Convolutional Neural Networks with Cutout (DeVries, Taylor; 2017)
          https://arxiv.org/abs/1708.04552
Source:   github hysts/pytorch_image_classification at 993089a3, README (the table of FashionMNIST), configs/ and
          config/defaults.py (settings)
Settings: Fashion-MNIST, mean .286, std .353; as `hysts_cutout`, with a flip and for 200 epochs; erasing with p = .5,
          .02 to .4 of the area; mixup with alpha 1, the default of the configuration
Trap:     The table does not say mixup's alpha.
Rule:     one run, last epoch (the source has the median of 3, which lies closer to its mean than one run does)
Differs:  Rectangles of erasing are filled with noise; the source fills each with one number in [0, 1].
"""

from callbacks import Cutout, MixUp, RandomErasing
from recipes.papers.frame.data import digits
from recipes.papers.frame.preact import arm
from recipes.papers.frame.row import Effect, Published, Row

ROW = Row(
    name="hysts_fashion",
    data=lambda root: digits(root, "FashionMNIST", mean=0.286, std=0.353),
    arms={
        "none": arm(epochs=200, flip=True),
        "Cutout 8": arm(Cutout(8), epochs=200, flip=True),
        "Cutout 16": arm(Cutout(16), epochs=200, flip=True),
        "erasing": arm(RandomErasing(0.5), epochs=200, flip=True),
        "mixup": arm(MixUp(1.0), epochs=200, flip=True),
    },
    claims=(
        Published("none", (94.96,)),
        Published("Cutout 8", (95.36,)),
        Published("Cutout 16", (95.51,)),
        Published("erasing", (95.39,)),
        Published("mixup", (95.08,)),
        Effect("Cutout 16", "none", (0.55,)),
        Effect("erasing", "none", (0.43,)),
        Effect("mixup", "none", (0.12,)),
    ),
    seeds=3,
    minutes=3000,
    gpu=True,
)
