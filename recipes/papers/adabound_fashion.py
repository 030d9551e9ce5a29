"""AdaBound against Adam, AMSGrad and SGD, in a re-implementation

Paper:    Adaptive Gradient Methods with Dynamic Bound of Learning Rate (Luo, Xiong, Liu, Sun; ICLR 2019)
          https://openreview.net/forum?id=Bkg3g2R9FX
Source:   github taki0112/AdaBound-Tensorflow at c0e56e44, README (a third party's numbers)
Settings: Fashion-MNIST / 255; 784-100-10 ReLU, Glorot-uniform; batch 32, lr .01, final_lr .1, beta_2 .999
Trap:     The README states no number of epochs and quotes the best one on test images. All methods have Adam's rate.
Rule:     one run, best epoch, with our choice of 10 epochs
"""

from callbacks import Xavier
from recipes.papers.frame.data import digits
from recipes.papers.frame.optimization import adam, sgd
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP

ADABOUND = {"optimizer": "adabound", "lr": 0.01, "weight_decay": 0.0, "optimizer_options": {"final_lr": 0.1}}


def arm(training) -> Fit:
    """Return an arm with an optimizer."""
    return Fit(lambda run: MLP("100", 10, in_chans=1, **training), lambda run: [Xavier()], epochs=10, batch=32)


ROW = Row(
    name="adabound_fashion",
    data=lambda root: digits(root, "FashionMNIST"),
    arms={
        "SGD": arm(sgd(0.01)),
        "Adam": arm(adam(0.01)),
        "AMSGrad": arm(adam(0.01, amsgrad=True)),
        "AdaBound": arm(ADABOUND),
    },
    claims=(
        Published("SGD", (86.33,), metric="best"),
        Published("Adam", (86.14,), metric="best"),
        Published("AMSGrad", (86.63,), metric="best"),
        Published("AdaBound", (86.88,), metric="best"),
        Effect("AMSGrad", "Adam", (0.49,), metric="best"),
        Effect("AdaBound", "Adam", (0.74,), metric="best"),
        Effect("AdaBound", "SGD", (0.55,), metric="best"),
    ),
    seeds=5,
    minutes=3.3,
)
