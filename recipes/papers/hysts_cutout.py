"""hysts' benchmark: Cutout and mixup on MNIST, with a pre-activation ResNet-20

Paper:    Improved Regularization of Convolutional Neural Networks with Cutout (DeVries, Taylor; 2017)
          https://arxiv.org/abs/1708.04552
Source:   github hysts/pytorch_image_classification at 993089a3, README (the table of MNIST), configs/ and
          config/defaults.py (settings)
Settings: MNIST, mean .1307, std .3081; crop from 4 pixels of padding; He's weights by fan-out; SGD .2 with Nesterov's
          momentum .9, weight decay 1e-4, batch 128 without the last incomplete one, 100 epochs, a cosine to .001 of the
          rate, set at each step; Cutout: a square of 8 pixels, zero after normalisation
Trap:     Errors of .40 and .25 % are 40 and 25 images: two binomial deviations of either are 12 and 10 images. A
          network of the same README, larger, is at .25 without being better.
Rule:     one run, last epoch (the source has the median of 3, which lies closer to its mean than one run does)
Differs:  Centres of squares are the 28 pixels of a side; the source has one more, beyond the edge.
"""

from callbacks import Cutout, MixUp
from recipes.papers.frame.data import digits
from recipes.papers.frame.preact import arm
from recipes.papers.frame.row import Effect, Published, Row

ROW = Row(
    name="hysts_cutout",
    data=lambda root: digits(root, mean=0.1307, std=0.3081),
    arms={
        "none": arm(epochs=100),
        "Cutout": arm(Cutout(8), epochs=100),
        "mixup, alpha 1": arm(MixUp(1.0), epochs=100),
        "mixup, alpha .5": arm(MixUp(0.5), epochs=100),
    },
    claims=(
        Published("none", (99.60,)),
        Published("Cutout", (99.75,)),
        Published("mixup, alpha 1", (99.60,)),
        Published("mixup, alpha .5", (99.62,)),
        Effect("Cutout", "none", (0.15,)),
    ),
    seeds=3,
    minutes=1200,
    gpu=True,
)
