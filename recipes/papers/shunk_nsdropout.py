"""Shunk 2022: neuron-specific dropout on 8,000 digits, with and without true labels of test images

Paper:    Neuron-Specific Dropout (Shunk; 2022) https://arxiv.org/abs/2201.06938
Source:   github JoshuaShunk/NSDropout at 4c66d5a4, README and notebooks
Settings: MNIST, the first 8,000 training images, the next 1,600 as the layer's held-out images, pixels (x - 127.5) /
          127.5; 784-128-128-128-10 ReLU; Adam .005, L2 5e-4 on the first layer, all images in one batch, 1,000 epochs;
          .2 of the first layer's units are dropped, at random or by class
Trap:     The published 0.00 % is no test error: the notebook picks the units to drop by the true label, for test images
          too, so each class has a network of its own. "by label" repeats that. "last" is the accuracy without labels.
Rule:     one run, last epoch (the source's is the best on test images)
Differs:  Images are the first of the files, where the source draws them. The held-out means are taken once an epoch.
          The rate falls by 5e-7 of itself an epoch in the source, which is nothing.
"""

import dataclasses

import lightning as L
import torch
from torch import Tensor

from callbacks import Dropout, NeuronSpecificDropout
from callbacks.dropout.neuron_specific_dropout import class_masks
from callbacks.frame.trick import Trick
from recipes.papers.frame.data import Images, digits
from recipes.papers.frame.optimization import adam
from recipes.papers.frame.row import Effect, Fit, Published, Row, Run, Trained, accuracy
from zoo import MLP, Classifier, Step

TRAIN, HELD, P = 8000, 1600, 0.2


class FirstLayerL2(Trick):
    """Add lambda times the sum of the squares of the first layer's weights and biases to the loss."""

    def __init__(self, weight: float):
        self.weight = weight

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        """Add the penalty."""
        layer = model.get_submodule("hidden1.linear")
        step.loss = step.loss + self.weight * sum(p.square().sum() for p in layer.parameters())


def network(run: Run) -> MLP:
    """Return the network."""
    return MLP("128-128-128", 10, in_chans=1, **adam(5e-3, eps=1e-7))


def hold_out(run: Run) -> Images:
    """Return what trains, and the held-out images in the place of the test's."""
    x, y = run.data.x, run.data.y
    return dataclasses.replace(run.data, x=x[:-HELD], y=y[:-HELD], held_x=x[-HELD:], held_y=y[-HELD:])


def arm(run: Run, dropout: Trick) -> Trained:
    """Train with a dropout; measure on the test images, without labels and with them."""
    done = Fit(network, lambda run: [FirstLayerL2(5e-4), dropout], epochs=1000, batch=TRAIN, every=50, data=hold_out)(
        run
    )
    tested = accuracy(done.network, run.data)
    done.metrics |= {"last": tested, "best": tested, "by label": by_label(done.network, hold_out(run), run.data)}
    return done


@torch.no_grad()
def by_label(network: Classifier, seen: Images, test: Images) -> float:
    """Return the accuracy, in percent, where the true label of each test image decides which units are off."""
    network.eval()
    train, held_out = (class_means(network, x, y) for x, y in [(seen.x, seen.y), (seen.held_x, seen.held_y)])
    kept = class_masks((train - held_out).nan_to_num(), P)
    h = network.get_submodule("hidden1")(test.held_x.flatten(1)) * kept[test.held_y]
    for name in ("hidden2", "hidden3", "head"):
        h = network.get_submodule(name)(h)
    return 100 * (h.argmax(1) == test.held_y).float().mean().item()


def class_means(network: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean of each unit of the first layer over the images of each class, (10, 128)."""
    h, of = network.get_submodule("hidden1")(x.flatten(1)), torch.nn.functional.one_hot(y, 10).to(x.dtype)
    return of.T @ h / of.sum(0)[:, None]


ROW = Row(
    name="shunk_nsdropout",
    data=lambda root: digits(root, train=slice(TRAIN + HELD), mean=0.5, std=0.5),
    arms={
        "dropout": lambda run: arm(run, Dropout(P, ("hidden1",))),
        "NSDropout": lambda run: arm(run, NeuronSpecificDropout(P, held=None, where=("hidden1",))),
    },
    claims=(
        Published("dropout", (94.41,)),
        Published("NSDropout", (100.0,), metric="by label"),
        Published("NSDropout", (100.0,)),
        Effect("NSDropout", "dropout", (5.59,)),
    ),
    seeds=3,
    minutes=4,
    network=network,
)
