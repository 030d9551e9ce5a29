"""Garbin et al. 2020, raw files: dropout, bounds on the weights and batch norm in 50 epochs

Paper:    Dropout vs. Batch Normalization (Garbin, Zhu, Marques; Multimedia Tools and Applications 2020)
          https://doi.org/10.1007/s11042-019-08453-9
Source:   github fau-masters-collected-works-cgarbin/dropout-vs-batch-normalization at ccc1975f, test_results/mlp
Settings: MNIST, 60,000 images / 255; 784-2048-2048-10 ReLU; SGD .01, momentum .95, batch 128, 50 epochs; dropout .1 of
          the pixels and .5 of the units; norms of the weights into a unit of at most 2 or 3; Keras's batch norm after
          the ReLU
Trap:     Weights are Glorot-uniform without a method and He-normal with one, so two things differ between the arms. The
          crossed arm, "none, He", shows what the weights do alone.
Rule:     runs of the last epoch as the source has them: three without a method, two with dropout, one with batch norm
"""

from collections.abc import Callable, Sequence

from callbacks import Dropout, Kaiming, Xavier
from callbacks.frame.trick import Trick
from recipes.papers.frame.data import digits
from recipes.papers.frame.initial import keras_norms
from recipes.papers.frame.max_norm import MaxNorm
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP
from zoo.layers.norm_order import Norm


def arm(tricks: Callable[[], Sequence[Trick]], norm: Norm | None = None) -> Fit:
    """Return an arm with these tricks."""
    training = sgd(0.01, momentum=0.95)
    return Fit(
        lambda run: keras_norms(MLP("2048-2048", 10, in_chans=1, norm=norm, **training)),
        lambda run: tricks(),
        epochs=50,
    )


def dropout() -> list[Trick]:
    """Return the tricks of dropout."""
    return [Kaiming(), Dropout(0.1, "input"), Dropout(0.5, ("hidden1", "hidden2"))]


ROW = Row(
    name="garbin_dropout",
    data=digits,
    arms={
        "none": arm(lambda: [Xavier()]),
        "none, He": arm(lambda: [Kaiming()]),
        "dropout": arm(dropout),
        "dropout, norm 2": arm(lambda: [*dropout(), MaxNorm(2.0, 2.0)]),
        "dropout, norm 3": arm(lambda: [*dropout(), MaxNorm(3.0, 3.0)]),
        "BN": arm(lambda: [Kaiming()], "after"),
    },
    claims=(
        Published("none", (98.34, 98.30, 98.29)),
        Published("dropout", (98.68, 98.70)),
        Published("dropout, norm 2", (98.62, 98.68)),
        Published("dropout, norm 3", (98.59, 98.64)),
        Published("BN", (98.60,)),
        Effect("dropout", "none", (0.38,)),
    ),
    seeds=3,
    minutes=60,
)
