"""Pereyra et al. 2017, table 1: label smoothing, confidence penalty and dropout on permutation-invariant MNIST

Paper:    Regularizing Neural Networks by Penalizing Confident Output Distributions (Pereyra, Tucker, Chorowski, Kaiser,
          Hinton; 2017) https://arxiv.org/abs/1701.06548, table 1
Source:   the paper's table, seen in a copy of its text
Settings: MNIST, 60,000 images, pixels in [0, 1]; 784-1024-1024-10 ReLU, weights N(0, .01^2); SGD .05, with dropout
          .001; smoothing .1, penalty 1.0. Ours, since the paper does not state them: batch 128, dropout .5 of the
          units, 100 epochs
Trap:     Epochs, batch, the rate of dropout and the meaning of "+-" are not stated. The plain number that the table
          quotes is another paper's, of five networks that vote. It is not judged; our own plain arm stands beside it.
Rule:     mean and deviation, which we take to be of 5 runs, with our choice of what is not stated
"""

from callbacks import ConfidencePenalty, Dropout, LabelSmoothing
from recipes.papers.frame.data import digits
from recipes.papers.frame.initial import Normal
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Fit, Published, Row
from zoo import MLP


def arm(lr: float, *make) -> Fit:
    """Return an arm with the tricks that `make` makes."""
    return Fit(
        lambda run: MLP("1024-1024", 10, in_chans=1, **sgd(lr)),
        lambda run: [Normal(0.01), *(one() for one in make)],
        epochs=100,
    )


ROW = Row(
    name="pereyra_penalty",
    data=digits,
    arms={
        "plain": arm(0.05),
        "Dropout": arm(0.001, lambda: Dropout(0.5, ("hidden1", "hidden2"))),
        "LabelSmoothing": arm(0.05, lambda: LabelSmoothing(0.1)),
        "ConfidencePenalty": arm(0.05, lambda: ConfidencePenalty(1.0)),
    },
    claims=(
        Published("Dropout", (98.72,), std=0.06, k=5),
        Published("LabelSmoothing", (98.77,), std=0.06, k=5),
        Published("ConfidencePenalty", (98.83,), std=0.06, k=5),
    ),
    seeds=5,
    minutes=60,
)
