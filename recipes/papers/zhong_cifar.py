"""Zhong et al. 2020: random erasing on CIFAR-10, with ResNet-20 and ResNet-32

Paper:    Random Erasing Data Augmentation (Zhong, Zheng, Kang, Li, Yang; AAAI 2020) https://arxiv.org/abs/1708.04896
Source:   github zhunzhong07/Random-Erasing at 03bba99e, README (the table) and cifar.py at 02d80de2 (settings)
Settings: CIFAR-10, 50,000 images; projections in the shortcuts that change the width; SGD .1, momentum .9, weight decay
          5e-4, batch 128, 300 epochs, the rate times .1 at 150 and 225; crop from 4 pixels of padding, flip; erasing
          with p = .5, .02 to .4 of the area
Trap:     The code reports the best epoch on the test images.
Rule:     one run, best epoch
Differs:  Rectangles are filled with noise, which the paper finds best; the code fills them with the mean.
"""

from recipes.papers.frame.data import cifar
from recipes.papers.frame.erasing import arm
from recipes.papers.frame.row import Effect, Published, Row

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)

ROW = Row(
    name="zhong_cifar",
    data=lambda root: cifar(root, MEAN, STD),
    arms={
        "ResNet-20": arm("20-B"),
        "ResNet-20, erasing": arm("20-B", erasing=True),
        "ResNet-32": arm("32-B"),
        "ResNet-32, erasing": arm("32-B", erasing=True),
    },
    claims=(
        Published("ResNet-20", (92.79,), metric="best"),
        Published("ResNet-20, erasing", (93.27,), metric="best"),
        Effect("ResNet-20, erasing", "ResNet-20", (0.48,), metric="best"),
        Published("ResNet-32", (93.59,), metric="best"),
        Published("ResNet-32, erasing", (94.34,), metric="best"),
        Effect("ResNet-32, erasing", "ResNet-32", (0.75,), metric="best"),
    ),
    seeds=5,
    minutes=2600,
    gpu=True,
)
