"""An example of gradient centralization whose gain is its warm start

Paper:    Gradient Centralization (Yong, Huang, Hua, Zhang; ECCV 2020) https://arxiv.org/abs/2004.01461
Source:   github Rishit-dagli/Gradient-Centralization-TensorFlow at 6fbb2e3f, examples/gctf_mnist.ipynb (outputs)
Settings: Fashion-MNIST, 60,000 images / 255; 784-512-256-64-512-256-64-10 ReLU, Glorot-uniform; Adam .001, batch 32
Trap:     For the run "with" centralization, the notebook compiles the network that it has already trained for 5 epochs,
          and trains it for 5 more. Compiling makes a new optimizer, not new weights. So its gain, in accuracy on
          training images, compares 10 epochs with 5. Arms: both methods from scratch, and both after 5 plain epochs.
Rule:     one run of training accuracy. The published effect is compared with ours as printed, and with the two honest
          effects, in points of the paired seeds
"""

import copy

from callbacks import GradientCentralization, Xavier
from recipes.papers.frame.data import digits
from recipes.papers.frame.optimization import adam
from recipes.papers.frame.row import Effect, Fit, Published, Row
from zoo import MLP


def plain(run) -> MLP:
    """Return a network with fresh weights."""
    return MLP("512-256-64-512-256-64", 10, in_chans=1, **adam(eps=1e-7))


def trained_network(run) -> MLP:
    """Return the network of the plain arm, trained."""
    return copy.deepcopy(run["plain 5"].network)


ROW = Row(
    name="gctf_warm_start",
    data=lambda root: digits(root, "FashionMNIST"),
    arms={
        "plain 5": Fit(plain, lambda run: [Xavier()], epochs=5, batch=32),
        "GC 5": Fit(plain, lambda run: [Xavier(), GradientCentralization()], epochs=5, batch=32),
        "plain 5 + plain 5": Fit(trained_network, epochs=5, batch=32),
        "plain 5 + GC 5": Fit(trained_network, lambda run: [GradientCentralization()], epochs=5, batch=32),
    },
    claims=(
        Published("plain 5", (88.76,), metric="train"),
        Published("plain 5 + GC 5", (91.65,), metric="train"),
        Effect("plain 5 + GC 5", "plain 5", (2.89,), metric="train"),
        Effect("plain 5 + plain 5", "plain 5", (2.89,), metric="train"),  # no centralization at all
        Effect("GC 5", "plain 5", (2.89,), metric="train"),  # no warm start
    ),
    seeds=10,
    minutes=6,
)
