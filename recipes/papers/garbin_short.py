"""Garbin et al. 2020, raw files: batch norm where training is short and the rate small

Paper:    Dropout vs. Batch Normalization (Garbin, Zhu, Marques; Multimedia Tools and Applications 2020)
          https://doi.org/10.1007/s11042-019-08453-9
Source:   github fau-masters-collected-works-cgarbin/dropout-vs-batch-normalization at ccc1975f, test_results/mlp
Settings: MNIST, 60,000 images / 255; 784-1024-1024-10 ReLU; SGD .01 or .1 without momentum, batch 128, 5 epochs;
          Keras's batch norm after the ReLU
Trap:     Weights are Glorot-uniform without batch norm and He-normal with it, so two things differ between the arms.
          The crossed arms, "none, He" and "BN, Glorot", show which of the two matters.
Rule:     mean of three runs without batch norm, one run with it; the effect of their means
Differs:  The source leaves out the gain of batch norms before ReLUs; ours have it.
"""

from callbacks import Kaiming, Xavier
from callbacks.frame.trick import Trick
from recipes.papers.frame.data import digits
from recipes.papers.frame.initial import keras_norms
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP
from zoo.layers.norm_order import Norm


def arm(lr: float, norm: Norm | None, initial: type[Trick]) -> Fit:
    """Return an arm with a rate, a norm and initial weights."""
    return Fit(
        lambda run: keras_norms(MLP("1024-1024", 10, in_chans=1, norm=norm, **sgd(lr))),
        lambda run: [initial()],
        epochs=5,
    )


ROW = Row(
    name="garbin_short",
    data=digits,
    arms={
        "none, lr .01": arm(0.01, None, Xavier),
        "BN, lr .01": arm(0.01, "after", Kaiming),
        "none, He, lr .01": arm(0.01, None, Kaiming),
        "BN, Glorot, lr .01": arm(0.01, "after", Xavier),
        "none, lr .1": arm(0.1, None, Xavier),
        "BN, lr .1": arm(0.1, "after", Kaiming),
    },
    claims=(
        Published("none, lr .01", (92.83, 92.71, 92.54)),
        Published("BN, lr .01", (96.71,)),
        Effect("BN, lr .01", "none, lr .01", (4.02,)),
        Published("none, lr .1", (96.86, 97.29, 97.06)),
        Published("BN, lr .1", (98.02,)),
        Effect("BN, lr .1", "none, lr .1", (0.95,)),
    ),
    seeds=5,
    minutes=7,
)
