"""Raschka's lectures: dropout, batch norm and initial weights of one MLP

Paper:    STAT 453, Introduction to Deep Learning (Raschka; 2021), lectures 10 and 11; dropout
          https://arxiv.org/abs/1207.0580, batch norm https://arxiv.org/abs/1502.03167, weights
          https://arxiv.org/abs/1502.01852
Source:   github rasbt/stat453-deep-learning-ss21 at 2202699c, L10/code/dropout.ipynb and L11/code/{batchnorm,
          weight_kaiming, weight_normal, weight_normal-batchnorm}.ipynb (outputs)
Settings: MNIST, 54,000 images, pixels in [0, 1]; 784-75-45-10 ReLU; SGD .1, batch 256, drop_last, 50 epochs; dropout .5
          after both hidden layers; batch norm before the ReLUs
Trap:     The networks of lecture 11 take a drop_proba of .5 but have no dropout layer: their numbers are without
          dropout.
Rule:     one run, last epoch
"""

from callbacks import Dropout
from recipes.papers.frame.data import digits
from recipes.papers.frame.initial import HeWeights, Normal
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP
from zoo.layers.norm_order import Norm


def arm(*make, norm: Norm | None = None) -> Fit:
    """Return an arm with the tricks that `make` makes."""
    return Fit(
        lambda run: MLP("75-45", 10, in_chans=1, norm=norm, **sgd(0.1)),
        lambda run: [one() for one in make],
        epochs=50,
        batch=256,
        drop_last=True,
    )


ROW = Row(
    name="raschka_l11",
    data=lambda root: digits(root, train=slice(54000)),
    arms={
        "plain": arm(),
        "Dropout": arm(lambda: Dropout(0.5, ("hidden1", "hidden2"))),
        "BN": arm(norm="before"),
        "Kaiming": arm(lambda: HeWeights(uniform=True)),
        "N(0, .001)": arm(lambda: Normal(0.001)),
        "N(0, .001), BN": arm(lambda: Normal(0.001), norm="before"),
    },
    claims=(
        Published("plain", (97.77,)),
        Published("Dropout", (96.60,)),
        Effect("Dropout", "plain", (-1.17,)),
        Published("BN", (97.77,)),
        Published("Kaiming", (97.63,)),
        Published("N(0, .001)", (96.80,)),
        Published("N(0, .001), BN", (97.82,)),
        Effect("N(0, .001), BN", "N(0, .001)", (1.02,)),
    ),
    seeds=10,
    minutes=5.5,
)
