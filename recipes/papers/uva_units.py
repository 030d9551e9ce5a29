"""UvA's tutorial 3: six activations in an MLP, by two implementations that disagree

Paper:    ELU https://arxiv.org/abs/1511.07289, Swish https://arxiv.org/abs/1710.05941; the numbers are the tutorial's
Source:   github phlippe/uvadlc_notebooks at 0da8037c, tutorial 3, Activation_Functions.ipynb in PyTorch and in JAX
          (outputs)
Settings: Fashion-MNIST, 50,000 images, mean .5, std .5; 784-512-256-256-128-10, torch's weights; SGD .01, momentum .9,
          batch 256, drop_last, at most 50 epochs, until the accuracy on 10,000 validation images has not risen for 7.
          The test accuracy is that of the epoch with the best validation accuracy
Trap:     The two implementations of the source differ by 1.3 points for one activation: seeds and initial weights.
Rule:     mean of the two runs, one by each implementation
"""

import dataclasses

from lightning.pytorch.callbacks import EarlyStopping

from callbacks import Activation
from recipes.papers.frame.data import digits
from recipes.papers.frame.optimization import sgd
from recipes.papers.frame.row import BestWeights, Fit, Published, Row, Run, Trained, accuracy
from zoo import MLP


def validating(run: Run):
    """Return the first 50,000 training images, and the other 10,000 for early stopping."""
    x, y = run.data.x, run.data.y
    cut = len(x) * 5 // 6
    return dataclasses.replace(run.data, x=x[:cut], y=y[:cut], held_x=x[cut:], held_y=y[cut:])


def network(run: Run) -> MLP:
    """Return the network."""
    return MLP("512-256-256-128", 10, in_chans=1, **sgd(0.01, momentum=0.9))


def arm(kind: str):
    """Return an arm with an activation."""

    def train(run: Run) -> Trained:
        best = BestWeights()
        done = Fit(
            network,
            lambda run: [Activation(kind), best, EarlyStopping("val/acc", mode="max", patience=7)],
            epochs=50,
            batch=256,
            drop_last=True,
            data=validating,
        )(run)
        best.copy_to(done.network)
        done.metrics["last"] = accuracy(done.network, run.data)
        return done

    return train


ROW = Row(
    name="uva_units",
    data=lambda root: digits(root, "FashionMNIST", mean=0.5, std=0.5),
    arms={kind: arm(kind) for kind in ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "swish")},
    claims=(
        Published("sigmoid", (10.00, 78.46)),
        Published("tanh", (87.59, 88.57)),
        Published("relu", (88.62, 88.65)),
        Published("leaky_relu", (88.92, 88.33)),
        Published("elu", (87.27, 88.32)),
        Published("swish", (88.73, 88.33)),
    ),
    seeds=10,
    minutes=9,
    network=network,
)
